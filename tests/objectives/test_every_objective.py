"""What holds for every objective, target, path and weighting."""

import math

import numpy as np
import pytest
import torch

from dit_toolkit.diffusion.denoiser import LabelledDenoiser
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.testing import Gaussian
from tests.objectives.cases import OBJECTIVES, at, name, randn, target_of, times_of

every = pytest.mark.parametrize("objective", OBJECTIVES, ids=name)
MEAN, STD = 0.3, 0.5


@every
def test_the_true_target_gives_data_noise_and_velocity(objective):
    x0, eps = randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1)
    for t in times_of(objective):
        alpha, sigma, alpha_prime, sigma_prime = at(objective, t)
        x, output = alpha * x0 + sigma * eps, target_of(objective, x0, eps, t)
        for time in (t, torch.full((2,), t, dtype=torch.float64)):
            seen = objective.predict(output, x, time)
            for found, right in (
                (seen.x0, x0),
                (seen.eps, eps),
                (seen.velocity, alpha_prime * x0 + sigma_prime * eps),
            ):
                torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10 * max(1, right.abs().max()))


@every
def test_the_truth_has_no_loss_and_all_else_has(objective):
    x0, eps = randn(1, 2, 4, 4), randn(1, 2, 4, 4, seed=1)
    for t in times_of(objective):
        output = target_of(objective, x0, eps, t)
        given = {"noise": eps, "t": torch.tensor([t], dtype=torch.float64)}
        right = objective.loss(lambda *_, output=output: output, x0, None, **given)
        assert float(right) < 1e-18 * float(output.square().max())
        wrong = objective.loss(lambda *_, output=output: output + 0.1, x0, None, **given)
        assert float(wrong) >= 0.01 * objective.weight(np.array([t]))[0] * (1 - 1e-9)


@every
def test_the_optimal_network_has_the_least_loss(objective):
    """For Gaussian data E[target | x] is affine in x, and so the loss exceeds its least by the weighted change squared.

    Four points with the right first and second moments give the expectation exactly.
    """
    x0 = MEAN + STD * torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64).view(-1, 1, 1, 1)
    eps = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).view(-1, 1, 1, 1)
    for t in times_of(objective):
        alpha, sigma, _, _ = at(objective, t)
        x = alpha * x0 + sigma * eps
        best = Gaussian(objective, MEAN, STD)(x, t)
        optimum = target_of(objective, best.x0, best.eps, t)
        given = {"noise": eps, "t": torch.full((4,), t, dtype=torch.float64)}

        def loss(output, given=given):
            return float(objective.loss(lambda *_: output, x0, None, **given).mean())

        scale, weight = float(optimum.square().mean().sqrt()), float(objective.weight(np.array([t]))[0])
        for change in (0.3 * scale + 0 * x, 0.5 * optimum, -0.5 * optimum):
            rise = loss(optimum + change) - loss(optimum)
            right = weight * float(change.square().mean())
            assert rise == pytest.approx(right, rel=1e-6, abs=1e-9 * loss(optimum))


@every
def test_the_network_is_given_the_point_and_the_time(objective):
    x0, eps = randn(2, 1, 2, 2), randn(2, 1, 2, 2, seed=1)
    t = torch.tensor([times_of(objective)[1], objective.schedule.highest], dtype=torch.float64)
    t = t if not isinstance(objective, DDPM) else torch.tensor([0.25, 1.0], dtype=torch.float64)
    seen = []
    objective.loss(lambda *given: seen.append(given) or torch.zeros_like(x0), x0, torch.tensor([3, 4]), noise=eps, t=t)
    [(x, time, y)] = seen
    for i in range(2):
        alpha, sigma, _, _ = at(objective, float(t[i]))
        point = objective.network_input(alpha * x0[i : i + 1] + sigma * eps[i : i + 1], float(t[i]))
        torch.testing.assert_close(x[i : i + 1], point, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(time, objective.network_time(t).float())
    assert y.tolist() == [3, 4]


@every
def test_drawn_times_are_in_range_and_the_same_alone(objective):
    seen = []
    index, x0 = list(range(500)), torch.zeros(500, 1, 1, 1)
    model = lambda x, t, y: seen.append(t) or torch.zeros_like(x)  # noqa: E731
    objective.loss(model, x0, None, generator=Generator(0, "t", index))
    low, high = objective.schedule.lowest, objective.schedule.highest
    ends = objective.network_time(torch.tensor([max(low, 1e-12), high], dtype=torch.float64))
    assert ends[0] <= seen[0].double().min() + 1e-3
    assert seen[0].double().max() <= ends[1] + 1e-3
    objective.loss(model, x0[:1], None, generator=Generator(0, "t", [7]))
    assert float(seen[1]) == float(seen[0][7])


@every
def test_the_probability_flow_carries_noise_to_data(objective):
    """Every objective's list, its conversion and its start, driven by a network in closed form."""
    from dit_toolkit.samplers.heun import Heun

    noise = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    oracle = Gaussian(objective, MEAN, STD)

    def network(x, time, y):
        """The raw output for the optimal prediction, from nothing but what a network is given."""
        t = clock_of(objective, float(time[0]))
        x = x / objective.network_input(torch.ones(1, dtype=torch.float64), t)
        best = oracle(x, t)
        return target_of(objective, best.x0, best.eps, t)

    denoiser = LabelledDenoiser(network, objective, torch.zeros(9).long())
    start = objective.schedule.start(noise)
    x = Heun(num_steps=100, spacing="karras").sample(denoiser, start)
    torch.testing.assert_close(x, oracle.end(start), rtol=0, atol=0.02)
    assert abs(float(oracle.end(start)[4]) - MEAN) < 0.02


def clock_of(objective, time):
    """The clock's time of a network's time."""
    if isinstance(objective, DDPM):
        return (time + 1) / objective.num_timesteps
    return time / 1000 if isinstance(objective, FlowMatching) else math.exp(time / 250) / objective.sigma_max


@pytest.mark.parametrize("objective", [DDPM(), FlowMatching(), EDM()], ids=name)
@pytest.mark.parametrize(
    ("t", "message"),
    [
        (torch.tensor([0, 999]), "t has type torch.int64: .*time_of_step"),
        (torch.tensor([0.5, 999.0]), "t must be from 0 to 1 .*, got 0.5 to 999"),
        (torch.tensor([-0.1, 0.5]), "t must be from 0 to 1"),
        (torch.tensor([0.5, math.nan]), "t must be from 0 to 1"),
    ],
)
def test_a_time_that_is_not_on_the_clock_is_refused(objective, t, message):
    x0 = torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match=message):
        objective.loss(lambda *_: x0, x0, None, t=t)


@pytest.mark.parametrize("objective", [DDPM(learn_sigma=False), FlowMatching(), EDM()], ids=name)
def test_low_discrepancy_spreads_a_batch_and_keeps_the_mean(objective):
    from attrs import evolve

    seen = []
    spread = evolve(objective, low_discrepancy=True)
    for first in (0, 64, 6400):
        x0 = torch.zeros(64, 1, 1, 1)
        spread.loss(
            lambda x, t, y: seen.append(t) or x, x0, None, generator=Generator(0, "t", range(first, first + 64))
        )
    x0 = torch.zeros(64, 1, 1, 1)
    spread.loss(lambda x, t, y: seen.append(t) or x, x0, None)
    even = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    for times in seen:  # each batch is within two of 64 steps of an even one, in the order of its times
        near = spread.network_time(spread.drawn((even + 2 / 64).clamp(max=1 - 1e-9)))
        below = spread.network_time(spread.drawn((even - 2 / 64).clamp(min=1e-9)))
        assert (times.double().sort().values <= near + 1e-3).all()
        assert (times.double().sort().values >= below - 1e-3).all()
