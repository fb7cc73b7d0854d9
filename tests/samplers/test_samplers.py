"""What single samplers promise."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from scipy.integrate import trapezoid

from dit_toolkit.errors import RecipeError
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.recipe.structure import structure
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.euler_ancestral import EulerAncestral
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.sde_euler import SDEEuler
from dit_toolkit.samplers.unipc import UniPC
from dit_toolkit.testing import Gaussian
from tests.samplers.exact import Even

OBJECTIVES = [DDPM(), FlowMatching(), EDM()]


def draw(sampler, denoiser, number=4):
    noise = Generator(0, "noise", range(number)).randn(1, 2, 2).double()
    return sampler.sample(denoiser, denoiser.schedule.start(noise), generator=Generator(0, "draws", range(number)))


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [
        (DDPMSampler(), 10),
        (DDIMSampler(), 10),
        (Euler(), 10),
        (EulerAncestral(), 10),
        (Heun(), 19),
        (DPMSolverPP(solver_order=3), 10),
        (UniPC(solver_order=3), 10),
        (SDEEuler(), 10),
    ],
    ids=lambda s: getattr(s, "kind", None),
)
def test_calls(sampler, calls):
    """One a step; two of Heun, but one in the last, which needs no slope at t = 0; a corrector needs none more."""
    denoiser = Gaussian(DDPM())
    draw(evolve(sampler, num_steps=10), denoiser)
    assert len(denoiser.calls) == calls
    assert sorted(set(denoiser.calls), reverse=True) == DDPM().times(10)[:-1]


def test_learned_range_lies_between_the_fixed_ones():
    """The fraction 0 is beta-tilde and 1 is beta."""
    for fraction, variance in ((0.0, "fixed-small"), (1.0, "fixed-large")):
        learned = draw(DDPMSampler(num_steps=10), Gaussian(DDPM(), fraction=fraction))
        fixed = draw(DDPMSampler(num_steps=10, variance=variance), Gaussian(DDPM()))
        torch.testing.assert_close(learned, fixed)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_samplers_that_are_one_another(objective):
    """First-order steps are one formula, with fresh noise too; a predictor without its corrector is DPM-Solver++."""
    for same in (
        (DDIMSampler(), Euler(), EulerAncestral(eta=0.0), DPMSolverPP(solver_order=1)),
        (DDIMSampler(eta=0.6), EulerAncestral(eta=0.6)),
        (DDIMSampler(eta=1.0), EulerAncestral(), DDPMSampler(variance="fixed-small")),
        (DDPMSampler(variance="fixed-small"), DPMSolverPP(solver_order=1, stochastic=True)),
        (DPMSolverPP(lower_order_final=False), UniPC(corrector=False, lower_order_final=False)),
        (DPMSolverPP(solver_order=3), UniPC(solver_order=3, corrector=False)),
        (Heun(), Heun(s_churn=0.0, s_noise=3.0), Heun(s_churn=9.0, s_tmin=1e5)),
    ):
        first, *others = (draw(evolve(sampler, num_steps=7), Gaussian(objective)) for sampler in same)
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-8, atol=1e-10)


def test_euler_in_flow_matching_follows_the_velocity():
    x = noise = torch.linspace(-2, 2, 5).double().view(-1, 1, 1, 1)
    denoiser = Gaussian(FlowMatching())
    for t in (1.0, 0.75, 0.5, 0.25):
        x = x - 0.25 * denoiser(x, t).velocity
    torch.testing.assert_close(Euler(num_steps=4).sample(denoiser, noise), x)


def test_dpm_solver_3m_is_of_third_order_because_of_the_whole_second_difference(monkeypatch):
    """With half of it, as the authors' code and diffusers have it, the order is 2."""
    from dit_toolkit.diffusion import multistep

    def rate():
        sampler = DPMSolverPP(solver_order=3, lower_order_final=False)
        coarse, fine = (Even(FlowMatching()).error(evolve(sampler, num_steps=n)) for n in (128, 256))
        return math.log2(coarse / fine)

    assert rate() == pytest.approx(3, abs=0.3)
    whole = multistep.weights

    def halved(nodes, h, *, first=None):
        powers = np.vander(nodes, increasing=True).T
        moments = powers @ whole(nodes, h, first=first)
        moments[2:] /= 2
        return np.linalg.solve(powers, moments)

    monkeypatch.setattr(multistep, "weights", halved)
    assert rate() == pytest.approx(2, abs=0.3)


def test_weights_solve_their_equations():
    from dit_toolkit.diffusion.multistep import weights

    for nodes in ([0.0], [0.0, -0.7], [1.0, 0.0], [0.0, -1.3, -1.9], [1.0, 0.0, -0.4, -2.0]):
        for h in (0.01, 1.0, 5.0, math.inf):
            for k in range(len(nodes)):
                r = np.linspace(0, 1, 200_001)
                density = h * np.exp(-h * (1 - r)) * r**k if h < math.inf else None
                psi = 1.0 if density is None else float(trapezoid(density, r))
                found = sum(w * node**k for w, node in zip(weights(nodes, h), nodes, strict=True))
                assert found == pytest.approx(psi, rel=1e-6)


def test_ddim_that_does_not_end_at_the_data_keeps_the_noise_of_the_first_step():
    noise = torch.linspace(-2, 2, 5).double().view(-1, 1, 1, 1)
    schedule, sampler = DDPM().schedule, DDIMSampler(num_steps=1000, set_alpha_to_one=False)
    x = sampler.sample(Gaussian(DDPM(), 0.3, 0.5), noise)
    end = math.hypot(0.5 * schedule.alpha(0.001), schedule.sigma(0.001))
    torch.testing.assert_close(x, 0.3 * schedule.alpha(0.001) + end * noise, rtol=0.02, atol=0.01)


def test_churn_adds_noise_within_its_range_and_not_above_the_first_time():
    denoiser = Gaussian(EDM())
    draw(Heun(num_steps=8, s_churn=4.0, s_tmin=1.0, s_tmax=50.0), denoiser)
    times, starts = EDM().times(8), denoiser.calls[::2]
    for t, start in zip(times, starts, strict=False):
        churned = 1.0 <= 80 * t <= 50.0
        assert start == pytest.approx(min(t * (1 + 0.4142135 if churned else t), 1.0) if churned else t, rel=1e-6)
    assert max(denoiser.calls) <= 1.0


def test_the_last_step_of_the_sde_may_be_longer():
    denoiser = Gaussian(FlowMatching())
    draw(SDEEuler(num_steps=5, last_step_size=0.04), denoiser)
    assert denoiser.calls == pytest.approx([1.0, 0.76, 0.52, 0.28, 0.04])
    draw(SDEEuler(num_steps=1, last_step_size=0.04), denoiser)
    assert denoiser.calls[-1] == 1.0


def test_noise_of_the_sde_is_of_the_diffusion():
    """At rest, where velocity and noise are 0, one step adds variance w(t) times its length."""

    class Still(Gaussian):
        def __init__(self):
            super().__init__(FlowMatching())
            self.times = lambda num_steps: [0.5, 0.2, 0.0]

        def __call__(self, x, t):
            found = super().__call__(x, t)
            return evolve(found, eps=0 * x, velocity=0 * x, x0=x)

    index = range(20_000)
    for diffusion, w in {
        "sigma": 0.5,
        "constant": 1.0,
        "linear": 0.5,
        "decreasing": 0.25,
        "increasing-decreasing": 1.0,
    }.items():
        sampler = SDEEuler(diffusion=diffusion, norm=3.0)
        x = sampler.sample(Still(), torch.zeros(len(index), 1, 1, 1), generator=Generator(0, "s", index))
        assert float(x.square().mean()) == pytest.approx(3.0 * w * 0.3, rel=0.04)


@pytest.mark.parametrize(
    ("kind", "table", "message"),
    [
        (DPMSolverPP, {"solver_order": 4}, "solver_order: expected one of 1, 2, 3"),
        (DPMSolverPP, {"solver_order": True}, "solver_order"),
        (DPMSolverPP, {"solver_type": "midpont"}, "solver_type: .*'midpoint'"),
        (UniPC, {"variant": "bh3"}, "variant: .*'bh1'"),
        (SDEEuler, {"diffusion": "linaer"}, "diffusion: .*'linear'"),
        (SDEEuler, {"norm": -1.0}, "norm: must be >= 0"),
        (SDEEuler, {"last_step_size": 1.0}, "last_step_size: must be < 1"),
        (Heun, {"s_churn": -1.0}, "s_churn: must be >= 0"),
        (EulerAncestral, {"eta": -0.1}, "eta: must be >= 0"),
        (DDIMSampler, {"eta": 1.1}, "eta: must be <= 1"),
    ],
)
def test_bad_options_are_named(kind, table, message):
    with pytest.raises(RecipeError, match=message):
        structure(table, kind)
