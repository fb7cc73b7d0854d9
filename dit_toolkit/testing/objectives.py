"""Checks of objectives: schedule, conversion and loss must tell one story on the one clock."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dit_toolkit.components import Objective
from dit_toolkit.testing.inputs import generator, images, randn

if TYPE_CHECKING:
    from torch import Tensor

INSIDE = (0.123456, 0.4567891, 0.8765432)
"""Times that are no trained steps."""


def check_schedule_ends(objective: Objective) -> None:
    """At t = 0 there is data and hardly any noise, at t = 1 noise and hardly any data."""
    schedule = objective.schedule
    alpha, sigma = (float(f(0.0)) for f in (schedule.alpha, schedule.sigma))
    assert abs(alpha - 1) < 1e-3, f"alpha(0) = {alpha:g}, expected 1: t = 0 is data"
    assert sigma < 0.02, f"sigma(0) = {sigma:g}, expected 0: t = 0 is data"
    ratio = float(schedule.alpha(1.0)) / float(schedule.sigma(1.0))
    assert ratio < 0.1, f"alpha(1) / sigma(1) = {ratio:g}, expected 0: t = 1 is noise"


def check_schedule_slopes(objective: Objective) -> None:
    """alpha' and sigma' are the derivatives, of numbers and of arrays alike; the share of noise rises."""
    schedule, step = objective.schedule, 1e-6
    for name in ("alpha", "sigma"):
        value, slope = getattr(schedule, name), getattr(schedule, f"{name}_prime")
        for t in INSIDE:
            right, seen = (float(value(t + step)) - float(value(t - step))) / (2 * step), float(slope(t))
            assert math.isclose(seen, right, rel_tol=1e-3, abs_tol=1e-4), f"{name}'({t}) = {seen:g}, expected {right:g}"
        same = np.allclose(value(np.array(INSIDE)), [float(value(t)) for t in INSIDE])
        assert same, f"{name} of an array differs from that of its numbers"
    times = np.linspace(0.01, 1, 50)
    ratio = np.log(schedule.sigma(times)) - np.log(np.maximum(schedule.alpha(times), 1e-12))
    falls = times[1:][np.diff(ratio) <= 0]
    assert not len(falls), f"sigma / alpha does not rise near t = {falls[0]:.2f}; it must, from data to noise"


def check_times(objective: Objective) -> None:
    """num_steps + 1 falling times from noise (at most 1) to 0; no steps and an unknown spacing are ValueErrors."""
    for steps in (1, 2, 7):
        times = objective.times(steps)
        shown = f"times({steps}) = {times}"
        assert len(times) == steps + 1, f"{shown}: {len(times)} times, expected {steps + 1}"
        assert times[-1] == 0, f"{shown}: the last must be 0"
        assert 0.5 < times[0] <= 1, f"{shown}: the first must be noise, at most 1"
        assert all(t > s for t, s in pairwise(times)), f"{shown}: they must fall"
    for arguments in ((0,), (3, "no-such-spacing")):
        try:
            objective.times(*arguments)
        except ValueError:
            continue
        raise AssertionError(f"times{arguments} must be a ValueError")


def check_network_time(objective: Objective) -> None:
    """(N,) in, (N,) out, finite and different for different times."""
    import torch

    t = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    seen = objective.network_time(t)
    assert seen.shape == t.shape, f"network_time maps {tuple(t.shape)} to {tuple(seen.shape)}"
    assert seen.isfinite().all(), "network_time is not finite"
    steps = seen.diff()
    assert (steps > 0).all() or (steps < 0).all(), "network_time gives two times the same value, or turns back"


def check_predictions_agree(objective: Objective) -> None:
    """x = alpha x0 + sigma eps and velocity = alpha' x0 + sigma' eps, for a number t and for t (N,) alike."""
    import torch

    x = randn(2, 3, 4, 4, dtype=torch.float64)
    output = randn(2, objective.out_channels(3), 4, 4, dtype=torch.float64, seed=2)
    for t in INSIDE:
        one = objective.predict(output, x, t)
        alpha, sigma, alpha_prime, sigma_prime = _at(objective, t)
        for name, seen, right in (
            ("alpha x0 + sigma eps", alpha * one.x0 + sigma * one.eps, x),
            ("velocity", one.velocity, alpha_prime * one.x0 + sigma_prime * one.eps),
        ):
            assert seen.shape == x.shape, f"predict: {name} is {tuple(seen.shape)}, expected {tuple(x.shape)}"
            assert torch.allclose(seen, right, rtol=1e-3, atol=1e-4), f"predict at t = {t}: {name} does not add up"
        many = objective.predict(output, x, torch.full((2,), t, dtype=torch.float64))
        assert torch.allclose(one.x0, many.x0, rtol=1e-4, atol=1e-5), f"predict at t = {t} differs for t of shape (N,)"


def check_loss_is_per_sample(objective: Objective) -> None:
    """(N,), finite, with a gradient."""
    import torch

    weight = torch.zeros((), requires_grad=True)
    x0, y = images(5, 3, 4, 4), torch.arange(5)
    loss = objective.loss(_Constant(objective, weight), x0, y, generator=generator(*range(5)))
    assert tuple(loss.shape) == (5,), f"the loss has shape {tuple(loss.shape)}, expected (N,) = (5,): no mean over N"
    assert loss.isfinite().all(), f"the loss of a network that returns 0 is {loss.tolist()}"
    loss.mean().backward()
    assert weight.grad is not None, "no gradient reaches the network"
    assert weight.grad.isfinite(), "the gradient of a network that returns 0 is not finite"


def check_loss_is_deterministic(objective: Objective) -> None:
    """Seed and sample index decide time and noise, whatever the batch."""
    import torch

    x0, y, model = images(3, 1, 4, 4), torch.arange(3), _Constant(objective, torch.tensor(0.1))
    first, second = (objective.loss(model, x0, y, generator=generator(4, 5, 6)) for _ in range(2))
    assert torch.equal(first, second), "the same generator gives another loss the second time"
    alone = objective.loss(model, x0[1:2], y[1:2], generator=generator(5))
    assert torch.allclose(first[1:2], alone, rtol=1e-4), "a sample has another loss when it is alone in its batch"


def check_truth_has_the_least_loss(objective: Objective) -> None:
    """A network that knows the noise has a smaller loss than any near it: 0, unless it predicts a variance too."""
    import torch

    x0, noise = images(3, 2, 4, 4).double(), randn(3, 2, 4, 4, dtype=torch.float64)
    for t in (t for t in objective.times(5) if 0.05 < t < 1):
        alpha, sigma, _, _ = _at(objective, t)
        oracle = _oracle(objective, alpha * x0 + sigma * noise, x0, noise, t)

        def loss(change: float, t: float = t, oracle: Tensor = oracle) -> Tensor:
            def model(*_: Tensor) -> Tensor:
                output = oracle.clone()
                output[:, :2] += change
                return output

            y = torch.arange(3)
            return objective.loss(model, x0, y, noise=noise, t=torch.full((3,), t, dtype=torch.float64))

        least = loss(0.0)
        for change in (-0.1, 0.1):
            worse = loss(change)
            assert (worse > least).all(), f"t = {t:.3f}: the truth has the loss {least}, {change} off has {worse}"
        if objective.out_channels(2) == 2:
            assert least.max() < 1e-3 * worse.max(), f"t = {t:.3f}: the truth has the loss {least.tolist()}, expected 0"


def _at(objective: Objective, t: float) -> tuple[float, float, float, float]:
    s = objective.schedule
    return float(s.alpha(t)), float(s.sigma(t)), float(s.alpha_prime(t)), float(s.sigma_prime(t))


def _oracle(objective: Objective, x: Tensor, x0: Tensor, noise: Tensor, t: float) -> Tensor:
    """Raw output that `predict` turns into the true velocity: solved for, as it is affine in every pixel's output."""
    import torch

    _, _, alpha_prime, sigma_prime = _at(objective, t)
    shape = (len(x), objective.out_channels(x.shape[1]), *x.shape[2:])
    zero = objective.predict(torch.zeros(shape).to(x), x, t).velocity
    one = objective.predict(torch.ones(shape).to(x), x, t).velocity
    output = torch.zeros(shape).to(x)
    output[:, : x.shape[1]] = (alpha_prime * x0 + sigma_prime * noise - zero) / (one - zero)
    return output


class _Constant:
    """A network that returns one number everywhere."""

    def __init__(self, objective: Objective, value: Tensor) -> None:
        self.objective, self.value = objective, value

    def __call__(self, x: Tensor, *_: Tensor) -> Tensor:
        return self.value.expand(len(x), self.objective.out_channels(x.shape[1]), *x.shape[2:]).to(x)
