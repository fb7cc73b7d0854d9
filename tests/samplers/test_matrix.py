"""Every sampler works with every objective, or says why not."""

from itertools import product

import pytest
import torch
from attrs import evolve

from dit_toolkit.diffusion.denoiser import LabelledDenoiser
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.registry import Registry
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.sde_euler import SDEEuler
from dit_toolkit.testing import Gaussian
from dit_toolkit.testing.parametrize import describe
from tests.samplers.exact import MEAN, STD, Mixture, moments, p_value

BUILTIN = Registry(discover=False)
SAMPLERS = [
    *(BUILTIN.resolve("samplers", kind)() for kind in BUILTIN.kinds("samplers")),
    DDPMSampler(variance="fixed-small"),
    DDPMSampler(variance="fixed-large"),
    DDIMSampler(eta=1.0),
    DDIMSampler(set_alpha_to_one=False),
    DPMSolverPP(stochastic=True),
    DPMSolverPP(solver_order=3),
    Heun(s_churn=20.0),
    SDEEuler(diffusion="sbdm"),
]
OBJECTIVES = [
    *(BUILTIN.resolve("objectives", kind)() for kind in BUILTIN.kinds("objectives")),
    DDPM(learn_sigma=False, beta_schedule="squared-cosine"),
    DDPM(target="v", zero_terminal_snr=True),
    DDPM(target="x0", beta_schedule="sigmoid"),
    FlowMatching(path="gvp", target="x0"),
    FlowMatching(path="vp", target="epsilon"),
    FlowMatching(shift=3.0),
    EDM(sigma_min=0.01, sigma_max=20.0),
]
PAIRS = list(product(SAMPLERS, OBJECTIVES))


def refusal(sampler, objective):
    """What a pair that is not defined must say; None for those that are."""
    learnt = getattr(objective, "learn_sigma", False)
    if isinstance(sampler, DDPMSampler) and sampler.variance == "learned-range" and not learnt:
        return r"variance 'learned-range' needs .*learn_sigma = true; '[\w-]+' here predicts no variance"
    if isinstance(sampler, DDIMSampler) and not sampler.set_alpha_to_one and objective.schedule.num_timesteps is None:
        return r"set_alpha_to_one = false needs an objective of trained steps; '[\w-]+' has continuous time"
    if isinstance(sampler, SDEEuler) and sampler.diffusion == "sbdm" and objective.schedule.alpha(1.0) < 1e-6:
        return "diffusion 'sbdm' is infinite at t = 1, where alpha is 0"
    return None


@pytest.mark.parametrize(("sampler", "objective"), PAIRS, ids=describe)
def test_every_sampler_with_every_objective(sampler, objective):
    """Mean and deviation of the results for Gaussian data are right, or the pair is refused by name."""
    steps = 150
    sampler = sampler if sampler.num_steps is None else evolve(sampler, num_steps=steps)
    reason = refusal(sampler, objective)
    if reason:
        with pytest.raises(ValueError, match=reason):
            sampler.check(objective)
        return
    sampler.check(objective)
    mean, std = moments(sampler, Gaussian(objective, 0.3, 0.5), steps)
    assert mean == pytest.approx(0.3, abs=0.03)
    assert std == pytest.approx(0.5, rel=0.06)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=describe)
def test_models_of_a_learnt_variance_work_under_every_sampler(sampler):
    """The variance half is split off; `ddpm` alone uses it."""
    ddpm = DDPM()
    labels = torch.zeros(2, dtype=torch.int64)
    noise = Generator(0, "s", range(2)).randn(3, 4, 4)
    few = sampler if sampler.num_steps is None else evolve(sampler, num_steps=4)

    def images(variance):
        def network(x, t, y):
            return torch.cat([0.9 * x, torch.full_like(x, variance)], 1)

        return few.sample(LabelledDenoiser(network, ddpm, labels), noise, generator=Generator(0, "s", range(2)))

    assert images(0.0).shape == noise.shape
    assert torch.equal(images(-1.0), images(1.0)) == (getattr(sampler, "variance", None) != "learned-range")


@pytest.mark.parametrize(("sampler", "objective"), [p for p in PAIRS if not refusal(*p)], ids=describe)
def test_a_sample_alone_is_the_sample_in_its_batch(sampler, objective):
    """To the last bit, where the denoiser rounds alike; and the same seed gives the same sample."""
    few = sampler if sampler.num_steps is None else evolve(sampler, num_steps=6)
    denoiser, index = Gaussian(objective, MEAN, STD), [3, 8, 10]
    noise = Generator(0, "n", index).randn(1, 3, 2).double() * torch.tensor([0.2, 1.0, 3.0])[:, None, None, None]
    noise = objective.schedule.start(noise)
    whole, again = (few.sample(denoiser, noise, generator=Generator(0, "s", index)) for _ in range(2))
    assert torch.equal(whole, again)
    for i, number in enumerate(index):
        alone = few.sample(denoiser, noise[i : i + 1], generator=Generator(0, "s", [number]))
        assert torch.equal(whole[i : i + 1], alone)


NUMBER = 600


@pytest.mark.parametrize("sampler", SAMPLERS, ids=describe)
def test_samples_of_a_mixture_are_like_its_data(sampler):
    """A permutation test of the energy distance does not tell them apart."""
    mixture = Mixture(DDPM() if refusal(sampler, FlowMatching()) else FlowMatching())
    sampler = sampler if sampler.num_steps is None else evolve(sampler, num_steps=100)
    assert p_value(drawn(sampler, mixture), mixture.draw(NUMBER, seed=1)) > 0.05


def drawn(sampler, mixture):
    noise = Generator(0, "noise", range(NUMBER)).randn(2, 1, 1).double()
    return sampler.sample(mixture, mixture.schedule.start(noise), generator=Generator(0, "sample", range(NUMBER)))


def test_the_mixture_test_finds_wrong_samplers():
    """Half the noise in every step, two steps, and part of a mode on the wrong side; not what is right."""
    mixture = Mixture(DDPM())
    data = mixture.draw(NUMBER, seed=1)
    sampler = DDPMSampler(variance="fixed-small", num_steps=100)

    class Weak(Generator):
        def randn_like(self, x):
            return 0.5 * super().randn_like(x)

    noise = Generator(0, "noise", range(NUMBER)).randn(2, 1, 1).double()
    weak = sampler.sample(mixture, noise, generator=Weak(0, "sample", range(NUMBER)))
    assert p_value(weak, data) < 0.01
    assert p_value(drawn(evolve(sampler, num_steps=2), mixture), data) < 0.01
    assert p_value(torch.where(data[:, :1] > 0.6, -data, data), mixture.draw(NUMBER, seed=2)) < 0.01
    assert p_value(mixture.draw(NUMBER, seed=3), data) > 0.05
