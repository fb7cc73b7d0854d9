import math
import warnings
from itertools import pairwise

import pytest
import torch
from attrs import evolve

from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.testing import Gaussian

ALL = [
    DDPMSampler(num_steps=20),
    DDPMSampler(num_steps=20, variance="fixed-small"),
    DDPMSampler(num_steps=20, variance="fixed-large", clip_x0=2.0),
    DDIMSampler(num_steps=20),
    DDIMSampler(num_steps=20, eta=0.5, clip_x0=2.0),
]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: DDPMSampler(num_steps=n),
        lambda n: DDPMSampler(num_steps=n, variance="fixed-large"),
        lambda n: DDIMSampler(num_steps=n),
        lambda n: DDIMSampler(num_steps=n, eta=1.0),
    ],
)
def test_error_falls_with_the_number_of_steps(make):
    """On Gaussian data with its optimal denoiser, mean and deviation converge at first order."""
    generator = Generator(0, "test", range(40_000))
    noise = generator.randn(1, 1, 1).double()
    errors = []
    for steps in (10, 40, 160):
        x = make(steps).sample(Gaussian(DDPM()), noise, generator=generator)
        assert float(x.mean()) == pytest.approx(0.3, abs=0.02)
        errors.append(abs(float(x.std()) - 0.5))
    assert errors[1] < errors[0] / 2.5
    assert errors[2] < errors[1] / 2.5


@pytest.mark.parametrize("sampler", ALL, ids=str)
def test_seed_decides_and_input_stays(sampler):
    index = [3, 8, 10]
    whole = Generator(0, "s", index).randn(1, 2, 2)
    kept = whole.clone()
    x = sampler.sample(Gaussian(DDPM()), whole, generator=Generator(0, "s", index))
    assert torch.equal(whole, kept)
    assert torch.equal(x, sampler.sample(Gaussian(DDPM()), whole, generator=Generator(0, "s", index)))
    alone = sampler.sample(Gaussian(DDPM()), whole[1:2], generator=Generator(0, "s", [8]))
    torch.testing.assert_close(x[1:2], alone)  # whatever the batch it is in
    assert x.dtype == whole.dtype


@pytest.mark.parametrize("sampler", ALL, ids=str)
def test_one_call_per_step(sampler):
    denoiser = Gaussian(DDPM())
    sampler.sample(denoiser, torch.randn(1, 1, 1, 1))
    assert denoiser.calls == DDPM().times(20)[:-1]


def test_clipping_bounds_the_result():
    noise = torch.randn(1000, 1, 1, 1)
    for sampler in (DDPMSampler(num_steps=5, clip_x0=0.1), DDIMSampler(num_steps=5, clip_x0=0.1)):
        assert sampler.sample(Gaussian(DDPM(), std=3.0), noise).abs().max() <= 0.1 + 1e-6


def test_learned_range_lies_between_the_fixed_ones():
    """The fraction 0 is beta-tilde and 1 is beta."""
    noise = torch.randn(500, 1, 1, 1).double()
    for fraction, variance in ((0.0, "fixed-small"), (1.0, "fixed-large")):
        learned = DDPMSampler(num_steps=10).sample(
            Gaussian(DDPM(), fraction=fraction), noise, generator=Generator(0, "s", range(500))
        )
        fixed = DDPMSampler(num_steps=10, variance=variance).sample(
            Gaussian(DDPM()), noise, generator=Generator(0, "s", range(500))
        )
        torch.testing.assert_close(learned, fixed)


def test_learned_range_without_a_learned_variance_is_refused():
    with pytest.raises(ValueError, match=r"learned-range.*learn_sigma.*fixed-small"):
        DDPMSampler().check(DDPM(learn_sigma=False))
    with pytest.raises(ValueError, match=r"num_steps \(50\).*10"):
        DDIMSampler(num_steps=50).check(DDPM(num_timesteps=10, beta_start=1e-3, beta_end=0.5))


class Network:
    """A fixed smooth function in place of a network, in float64."""

    def __call__(self, x, t):
        return torch.sin(3 * x) * 0.7 + torch.cos(torch.as_tensor(t / 300.0))


def diffusers_run(scheduler, steps, noise, **options):
    x, network = noise.clone(), Network()
    scheduler.timesteps = torch.tensor(steps)
    scheduler.num_inference_steps = len(steps)
    scheduler.custom_timesteps = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for t in steps:
            x = scheduler.step(network(x, t), t, x, **options).prev_sample
    return x


@pytest.mark.parametrize("clip", [None, 1.0])
def test_ddim_agrees_with_diffusers(clip):
    from diffusers import DDIMScheduler

    objective, noise = DDPM(learn_sigma=False), torch.randn(4, 1, 3, 3).double()
    steps = list(range(980, -1, -20))  # what DDIMScheduler assumes of the previous step
    theirs = DDIMScheduler(clip_sample=clip is not None, clip_sample_range=clip or 1.0)
    theirs.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    theirs.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    expected = diffusers_run(theirs, steps, noise, use_clipped_model_output=clip is not None)

    network = Network()

    class Denoiser:
        schedule = objective.schedule

        def times(self, n, spacing="uniform"):
            return [(s + 1) / 1000 for s in steps] + [0.0]

        def __call__(self, x, t):
            return objective.predict(network(x, round(t * 1000) - 1), x, t)

    ours = DDIMSampler(num_steps=len(steps), clip_x0=clip).sample(Denoiser(), noise)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("variance", ["fixed-small", "fixed-large"])
def test_ddpm_steps_agree_with_diffusers(variance):
    """Mean and variance of each full-schedule step, with the same noise."""
    from diffusers import DDPMScheduler

    objective, network = DDPM(learn_sigma=False), Network()
    theirs = DDPMScheduler(variance_type=variance.replace("-", "_"), clip_sample=False)
    theirs.betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    theirs.alphas = 1 - theirs.betas
    theirs.alphas_cumprod = torch.cumprod(theirs.alphas, 0)
    noise = torch.randn(2, 1, 3, 3).double()
    for step in (999, 500, 1):

        class Denoiser:
            schedule = objective.schedule

            def times(self, n, spacing="uniform", step=step):
                return [(step + 1) / 1000, step / 1000]

            def __call__(self, x, t, step=step):
                return objective.predict(network(x, step), x, t)

        z = torch.randn(noise.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

        class Same:
            def randn_like(self, x, z=z):
                return z

        ours = DDPMSampler(num_steps=1, variance=variance).sample(Denoiser(), noise, generator=Same())
        expected = theirs.step(
            network(noise, step), step, noise, generator=torch.Generator().manual_seed(7)
        ).prev_sample
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)


def test_ddim_with_eta_one_has_the_ddpm_variance():
    noise = torch.randn(2, 1, 1, 1).double()
    ddim = DDIMSampler(num_steps=7, eta=1.0).sample(Gaussian(DDPM()), noise, generator=Generator(0, "s", [0, 1]))
    ddpm = DDPMSampler(num_steps=7, variance="fixed-small").sample(
        Gaussian(DDPM()), noise, generator=Generator(0, "s", [0, 1])
    )
    torch.testing.assert_close(ddim, ddpm)
    assert math.isfinite(float(ddim.sum()))


@pytest.mark.parametrize(("make", "order"), [(lambda n: Euler(num_steps=n), 1), (lambda n: Heun(num_steps=n), 2)])
def test_solvers_of_the_ode_have_their_order(make, order):
    """The exact solution for Gaussian data is known: x(0) = mean + std eps."""
    noise = torch.linspace(-2, 2, 9).double().view(-1, 1, 1, 1)
    exact = 0.3 + 0.5 * noise
    errors = [float((make(n).sample(Gaussian(FlowMatching()), noise) - exact).abs().max()) for n in (16, 32, 64, 128)]
    rates = [math.log2(a / b) for a, b in pairwise(errors)]
    assert rates[-1] == pytest.approx(order, abs=0.25)


def test_heun_makes_two_calls_a_step_but_one_in_the_last():
    denoiser = Gaussian(FlowMatching())
    Heun(num_steps=4).sample(denoiser, torch.randn(1, 1, 1, 1))
    assert denoiser.calls == [1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("sampler", [*ALL[1:], Euler(num_steps=200), Heun(num_steps=50)], ids=str)
@pytest.mark.parametrize("objective", [DDPM(), FlowMatching()], ids=lambda o: o.kind)
def test_every_sampler_works_with_every_objective(sampler, objective):
    sampler = evolve(sampler, num_steps=200)
    noise = Generator(0, "n", range(4000)).randn(1, 1, 1).double()
    x = sampler.sample(Gaussian(objective), noise, generator=Generator(0, "s", range(4000)))
    assert float(x.mean()) == pytest.approx(0.3, abs=0.05)
    assert float(x.std()) == pytest.approx(0.5, abs=0.05)
