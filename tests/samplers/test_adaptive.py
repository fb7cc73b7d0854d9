import math

import numpy as np
import pytest
import torch
from attrs import evolve
from scipy.integrate import RK45, solve_ivp

from dit_toolkit.diffusion.ode import Coordinates
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.samplers.adaptive_ode import ERROR, NODES, STAGES, AdaptiveODE
from dit_toolkit.testing import Gaussian
from tests.samplers.exact import MEAN, STD, Mixture

OBJECTIVES = [FlowMatching(), DDPM(), EDM()]


class Counting:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.times, self.calls = denoiser, denoiser.schedule, denoiser.times, 0

    def __call__(self, x, t):
        self.calls += 1
        return self.denoiser(x, t)


def noise(number=1):
    return Generator(0, "noise", range(number)).randn(2, 1, 1).double()


def start(objective, number=1):
    return objective.schedule.start(noise(number))


def test_the_pair_is_that_of_scipy():
    stages = np.zeros((6, 6))
    for i, row in enumerate(STAGES):
        stages[i, : len(row)] = row
    np.testing.assert_allclose(stages[:5, :5], RK45.A[1:], rtol=1e-15)
    np.testing.assert_allclose(stages[5], RK45.B, rtol=1e-15)
    np.testing.assert_allclose(NODES[:5], RK45.C[1:], rtol=1e-15)
    np.testing.assert_allclose(ERROR, -RK45.E, rtol=1e-14)
    assert [sum(row) for row in STAGES] == pytest.approx(NODES)


def scipy_solution(denoiser, x, tolerance):
    """The same ODE by scipy, and its number of evaluations."""
    path = Coordinates(denoiser.schedule, bounded=True)
    schedule, least = denoiser.schedule, denoiser.schedule.ratio_range[0]
    first, end = path.u(schedule.highest), least / (1 + least)

    def slope(u, z):
        t = path.time(u) if u != first else schedule.highest
        return path.slope(denoiser(path.scale(t) * torch.from_numpy(z).view(1, 2, 1, 1), t)).flatten().numpy()

    z = (x / path.scale(schedule.highest)).flatten().numpy()
    found = solve_ivp(slope, (first, end), z, method="RK45", rtol=tolerance, atol=tolerance)
    t = path.time(end)
    return denoiser(path.scale(t) * torch.from_numpy(found.y[:, -1]).view(1, 2, 1, 1), t).x0, found.nfev


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
def test_it_is_as_good_as_scipys_and_as_cheap(objective, tolerance):
    exact, _ = scipy_solution(Mixture(objective), start(objective), 1e-11)
    counting = Counting(Mixture(objective))
    x = AdaptiveODE(rtol=tolerance, atol=tolerance).sample(counting, start(objective))
    theirs, number = scipy_solution(Mixture(objective), start(objective), tolerance)
    assert float((x - exact).abs().max()) < max(3 * float((theirs - exact).abs().max()), 20 * tolerance)
    assert counting.calls < 1.5 * number


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_the_error_falls_with_the_tolerance(objective):
    """Down to what the last step leaves, (sigma / alpha / std)^2 / 2 of the deviation, and the data at the start."""
    least, schedule = objective.schedule.ratio_range[0], objective.schedule
    floor = 2 * STD * (least / STD) ** 2 + STD * MEAN * float(schedule.alpha(1.0) / schedule.sigma(1.0))
    for tolerance in (1e-2, 1e-3, 1e-4, 1e-5):
        x = AdaptiveODE(rtol=tolerance, atol=tolerance).sample(Gaussian(objective, MEAN, STD), start(objective, 9))
        assert float((x - MEAN - STD * noise(9)).abs().max()) < 5 * tolerance + floor


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_each_sample_has_steps_of_its_own(objective):
    """Samples that need different steps are the same alone, and share calls in a batch."""
    sampler, number = AdaptiveODE(rtol=1e-5, atol=1e-5), 8
    together = Counting(Mixture(objective))
    whole = sampler.sample(together, start(objective, number))
    calls = []
    for i in range(number):
        alone = Counting(Mixture(objective))
        torch.testing.assert_close(
            sampler.sample(alone, start(objective, number)[i : i + 1]), whole[i : i + 1], rtol=0, atol=1e-12
        )
        calls.append(alone.calls)
    assert len(set(calls)) > 1
    assert max(calls) <= together.calls < 0.5 * sum(calls)


def test_one_hard_sample_does_not_change_an_easy_one():
    class Stiff(Gaussian):
        """The second sample's data are a thousandth as wide."""

        def __call__(self, x, t):
            found = super().__call__(x, t)
            other = Gaussian(self.objective, self.mean, 1e-3 * self.std)(x, t)
            hard = torch.arange(len(x)).view(-1, 1, 1, 1) == 1
            parts = {name: torch.where(hard, getattr(other, name), getattr(found, name)) for name in ("x0", "eps")}
            return evolve(found, **parts)

    objective = FlowMatching()
    easy = Counting(Stiff(objective))
    first = AdaptiveODE().sample(easy, noise(1))
    both = Counting(Stiff(objective))
    assert torch.equal(AdaptiveODE().sample(both, noise(2))[:1], first)
    assert both.calls > easy.calls


def test_what_cannot_be_met_is_an_error():
    class Broken(Gaussian):
        def __call__(self, x, t):
            found = super().__call__(x, t)
            return evolve(found, x0=found.x0 * (math.nan if t < 0.5 else 1.0))

    class Jumping(Gaussian):
        """Its data jump back and forth at every call."""

        def __call__(self, x, t):
            found = super().__call__(x, t)
            return evolve(found, x0=found.x0 + 1e6 * (-1) ** len(self.calls))

    for denoiser in (Broken(FlowMatching()), Jumping(FlowMatching())):
        with pytest.raises(ValueError, match="rtol and atol cannot be met"):
            AdaptiveODE(rtol=1e-12, atol=1e-12).sample(denoiser, noise())
    with pytest.raises(ValueError, match="rtol"):
        AdaptiveODE(rtol=0.0)
