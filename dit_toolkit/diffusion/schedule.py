"""Noise schedules on the one clock t in [0, 1], 0 = data and 1 = noise: x_t = alpha(t) x0 + sigma(t) eps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

Time = TypeVar("Time", float, np.ndarray)


class Schedule(ABC):
    """alpha, sigma and their derivatives, in float64, of one time or of an array of times."""

    num_timesteps: int | None = None
    """How many trained steps there are, at t = (i + 1) / num_timesteps; None where any time is trained."""
    highest: float = 1.0
    """The time at which sampling starts."""
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


class DiscreteSchedule(Schedule):
    """The variance-preserving schedule of T trained steps: step i is t = (i + 1) / T, log alpha-bar is linear between.

    Args:
        alphas_bar: (T,) falling cumulative products of 1 - beta (Ho et al. 2020, equation 4).
    """

    def __init__(self, alphas_bar: np.ndarray) -> None:
        self.num_timesteps = self._total = len(alphas_bar)
        self._log = np.concatenate([[0.0], np.log(alphas_bar)])  # (T + 1,), alpha-bar(0) = 1

    @cached_property
    def ratio_range(self) -> tuple[float, float]:  # type: ignore[override]
        """sigma / alpha of the first and the last trained step."""
        least, most = (float(self.sigma(t) / self.alpha(t)) for t in (1 / self._total, 1.0))
        return least, most

    def _log_alpha_bar(self, t: Time) -> Time:
        return np.interp(np.multiply(t, self._total), np.arange(self._total + 1), self._log)

    def _slope(self, t: Time) -> Time:
        """d log alpha-bar / dt, of the interval that ends at t."""
        step = np.ceil(np.multiply(t, self._total) - 1e-9).astype(np.int64).clip(1, self._total)
        return (self._log[step] - self._log[step - 1]) * self._total

    def alpha(self, t: Time) -> Time:
        """sqrt(alpha-bar)."""
        return np.exp(self._log_alpha_bar(t) / 2)

    def sigma(self, t: Time) -> Time:
        """sqrt(1 - alpha-bar)."""
        return np.sqrt(-np.expm1(self._log_alpha_bar(t)))

    def alpha_prime(self, t: Time) -> Time:
        """alpha (log alpha-bar)' / 2."""
        return self.alpha(t) * self._slope(t) / 2

    def sigma_prime(self, t: Time) -> Time:
        """-alpha-bar (log alpha-bar)' / (2 sigma); infinite at t = 0."""
        with np.errstate(divide="ignore"):
            return np.divide(-np.exp(self._log_alpha_bar(t)) * self._slope(t) / 2, self.sigma(t))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """The time at which log alpha-bar is -log(1 + exp(-log_snr))."""
        log_alpha_bar = -np.logaddexp(0.0, np.negative(log_snr))
        return np.interp(log_alpha_bar, self._log[::-1], np.arange(self._total, -1, -1) / self._total)


class LinearSchedule(Schedule):
    """The straight line of flow matching: alpha = 1 - t, sigma = t."""

    def alpha(self, t: Time) -> Time:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Time) -> Time:
        """t."""
        return t

    def alpha_prime(self, t: Time) -> Time:
        """-1."""
        return t * 0 - 1

    def sigma_prime(self, t: Time) -> Time:
        """1."""
        return t * 0 + 1

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """1 / (1 + exp(log_snr / 2))."""
        return np.exp(-np.logaddexp(0.0, np.divide(log_snr, 2)))


class Posterior(NamedTuple):
    """q(x_s | x_t, x0) for s < t: mean = x0_factor x0 + x_factor x_t (Kingma et al. 2021, equations 25 to 28)."""

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
