"""Multistep methods that solve the linear part of the probability-flow ODE exactly, in log(alpha / sigma)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.schedule import Schedule


class Step(NamedTuple):
    """What one step from t to s knows, in float64."""

    h: float
    """Its length in log(alpha / sigma); inf where it begins at alpha = 0 or ends at sigma = 0."""
    nodes: list[float]
    """Where predictions are that it may use, the newest first, in units of h from its start: 0 and below."""
    x_factor: float
    """sigma_s / sigma_t, what remains of x."""
    alpha: float
    """alpha_s."""
    sigma: float
    """sigma_s."""


def steps(schedule: Schedule, times: Sequence[float], order: int, *, lower_last: bool) -> list[Step]:
    """Return the n steps between n + 1 times.

    The number of predictions in use grows from 1 to `order`; one made where alpha = 0 has no place in
    log(alpha / sigma), and serves in its own step alone; a step to sigma = 0 can use one. `lower_last` lets the number
    fall to 1 towards the end.
    """
    t = np.asarray(times)
    ratios, alphas, sigmas = schedule.log_snr(t) / 2, schedule.alpha(t), schedule.sigma(t)
    number, unusable = len(times) - 1, int(math.isinf(ratios[0]))
    found = []
    for i in range(number):
        h = float(ratios[i + 1] - ratios[i])
        usable = 1 if math.isinf(ratios[i + 1]) else min(order, i + 1 - unusable, number - i if lower_last else order)
        nodes = [0.0, *(float((ratios[i - j] - ratios[i]) / h) for j in range(1, usable))]
        found.append(Step(h, nodes, float(sigmas[i + 1] / sigmas[i]), float(alphas[i + 1]), float(sigmas[i + 1])))
    return found


def weights(nodes: Sequence[float], h: float, *, first: float | None = None) -> list[float]:
    """Weights (n,) of the data predicted at `nodes` (n,) in a step of length h in log(alpha / sigma), which may be inf.

    With x_s = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j the step is exact where the predicted data D is a
    polynomial of degree n - 1 (Lu et al. 2022, "DPM-Solver++", proposition 4.1): sum_j w_j nodes_j^k = psi_k, the
    integral of h exp(-h (1 - r)) r^k over r in [0, 1]. So psi_0 = 1 - exp(-h), and psi_k = 1 - k psi_(k-1) / h.

    Args:
        nodes: where D is known, in units of h from the step's start: 0 here, 1 at its end, negative before.
        h: length of the step; of the SDE twice that, since its noise decays so.
        first: stands in for psi_1, as the "midpoint" and B(h) variants have it.
    """
    found = [-math.expm1(-h)]
    for k in range(1, len(nodes)):
        found.append(1 - k * found[-1] / h if k > 1 or first is None else first)
    last = len(nodes) - 1
    for k in range(last):  # the system of Vandermonde's, as Bjorck and Pereyra 1970 solve it
        for i in range(last, k, -1):
            found[i] -= nodes[k] * found[i - 1]
    for k in range(last - 1, -1, -1):
        for i in range(k + 1, last + 1):
            found[i] /= nodes[i] - nodes[i - k - 1]
        for i in range(k, last):
            found[i] -= found[i + 1]
    return found


def combine(x: Tensor, factors: Iterable[float], predictions: Iterable[Tensor]) -> Tensor:
    """x + sum_j factor_j prediction_j; predictions beyond the factors are left out."""
    for factor, prediction in zip(factors, predictions, strict=False):
        x = x.add(prediction, alpha=factor)  # (N, C, H, W)
    return x
