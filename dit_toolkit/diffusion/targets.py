"""What a network returns, as target = a(t) x0 + b(t) eps, and how data, noise and velocity follow from it.

With x = alpha x0 + sigma eps these are two linear equations for x0 and eps. Every built-in objective is such a pair.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from attrs import frozen

from dit_toolkit.diffusion.schedule import Schedule

Target = Callable[[Schedule, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(schedule, t) to a and b."""


def epsilon(schedule: Schedule, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
    """The noise (Ho et al. 2020, equation 14); needs alpha > 0."""
    return t * 0, t * 0 + 1


def x0(schedule: Schedule, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
    """The data; needs sigma > 0."""
    return t * 0 + 1, t * 0


def v(schedule: Schedule, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alpha eps - sigma x0 (Salimans & Ho 2022, appendix D)."""
    return -schedule.sigma(t), schedule.alpha(t)


def velocity(schedule: Schedule, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """alpha' x0 + sigma' eps (Lipman et al. 2023, section 4; Ma et al. 2024, section 2)."""
    return schedule.alpha_prime(t), schedule.sigma_prime(t)


def score(schedule: Schedule, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of log p(x_t), -eps / sigma (Song et al. 2021; Ma et al. 2024); needs alpha and sigma > 0."""
    return t * 0, -1 / schedule.sigma(t)


@frozen
class Preconditioned:
    """F of D = c_skip x + c_out F (Karras et al. 2022, equation 7 with table 1), for data of a standard deviation."""

    sigma_data: float

    def __call__(self, schedule: Schedule, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x0 - c_skip (x0 + sigma eps)) / c_out; for alpha = 1."""
        sigma = schedule.sigma(t)
        root = np.sqrt(sigma**2 + self.sigma_data**2)
        return sigma / (self.sigma_data * root), -self.sigma_data / root


def solve(schedule: Schedule, target: Target, t: np.ndarray) -> np.ndarray:
    """(6, ...) factors of (x, output) in x0, in eps and in the velocity, in this order."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    a, b = target(schedule, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        det = alpha * b - sigma * a
        x0, eps = np.array([b, -sigma]) / det, np.array([-a, alpha]) / det
        return np.concatenate([x0, eps, schedule.alpha_prime(t) * x0 + schedule.sigma_prime(t) * eps])


@lru_cache(maxsize=10_000)
def solved(schedule: Schedule, target: Target, t: float) -> list[float]:
    """The same for one time, kept: samplers visit few times, and often."""
    return solve(schedule, target, np.float64(t)).tolist()


def velocity_factor(schedule: Schedule, target: Target, t: np.ndarray) -> np.ndarray:
    """d velocity / d output at a given x; infinite where the target needs a factor that is 0."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    a, b = target(schedule, t)
    with np.errstate(divide="ignore"):
        return (alpha * schedule.sigma_prime(t) - sigma * schedule.alpha_prime(t)) / (alpha * b - sigma * a)
