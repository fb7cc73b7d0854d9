"""Noise schedules on the one clock t in [0, 1], 0 = data and 1 = noise: x_t = alpha(t) x0 + sigma(t) eps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Time = TypeVar("Time", float, np.ndarray)


class Schedule(ABC):
    """alpha, sigma and their derivatives, in float64, of one time or of an array of times."""

    num_timesteps: int | None = None
    """How many trained steps there are, at t = (i + 1) / num_timesteps; None where any time is trained."""
    lowest: float = 0.0
    """The least time that training draws."""
    highest: float = 1.0
    """The largest time that training draws, at which sampling starts."""
    ratio_range: tuple[float, float] = (0.002, 80.0)
    """The least and the most sigma / alpha of step lists that are spaced by it (Karras et al. 2022, table 1)."""

    @abstractmethod
    def alpha(self, t: Time) -> Time:
        """Factor of the data."""

    @abstractmethod
    def sigma(self, t: Time) -> Time:
        """Standard deviation of the noise."""

    @abstractmethod
    def alpha_prime(self, t: Time) -> Time:
        """d alpha / dt."""

    @abstractmethod
    def sigma_prime(self, t: Time) -> Time:
        """d sigma / dt."""

    def start(self, noise: Tensor) -> Tensor:
        """Turn unit normal noise into x at the highest time: sigma times it, which a sampler carries to t = 0."""
        return float(self.sigma(self.highest)) * noise

    def log_snr(self, t: Time) -> Time:
        """log(alpha^2 / sigma^2), which falls from data (inf) to noise."""
        with np.errstate(divide="ignore"):
            return 2 * (np.log(self.alpha(t)) - np.log(self.sigma(t)))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """The time in [0, 1] that has a log-SNR, by bisection; the end where none has it."""
        wanted: Any = np.asarray(log_snr, dtype=np.float64)
        low, high = np.zeros_like(wanted), np.ones_like(wanted)
        for _ in range(80):
            middle = (low + high) / 2
            cleaner = self.log_snr(middle) > wanted
            low, high = np.where(cleaner, middle, low), np.where(cleaner, high, middle)
        return high[()]


class Posterior(NamedTuple):
    """q(x_s | x_t, x0) for s < t: mean = x0_factor x0 + x_factor x_t (Kingma et al. 2021, appendix A)."""

    x0_factor: float
    x_factor: float
    variance: float
    """beta-tilde, the lower bound of the reverse variance."""
    step_variance: float
    """beta, the variance of q(x_t | x_s) and the upper bound."""


def posterior(schedule: Schedule, t: Time, s: Time) -> Posterior:
    """The posterior of x_s for s < t of any Gaussian path; for DDPM steps that of Ho et al. 2020, equations 6, 7."""
    alpha, sigma2 = schedule.alpha(t), schedule.sigma(t) ** 2
    alpha_s, sigma2_s = schedule.alpha(s), schedule.sigma(s) ** 2
    ratio = alpha / alpha_s
    step_variance = sigma2 - ratio**2 * sigma2_s
    return Posterior(
        x0_factor=alpha_s * step_variance / sigma2,
        x_factor=ratio * sigma2_s / sigma2,
        variance=step_variance * sigma2_s / sigma2,
        step_variance=step_variance,
    )
