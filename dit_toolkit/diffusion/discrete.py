"""Schedules of T trained steps: step i is t = (i + 1) / T, with an interpolation between."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dit_toolkit.diffusion.schedule import Schedule, Time

if TYPE_CHECKING:
    from torch import Tensor


class DiscreteSchedule(Schedule):
    """The variance-preserving schedule of T trained steps; log alpha-bar is linear between them.

    Args:
        alphas_bar: (T,) falling cumulative products of 1 - beta, above 0 (Ho et al. 2020, equation 4).
    """

    num_timesteps: int

    def __init__(self, alphas_bar: np.ndarray) -> None:
        self.num_timesteps = len(alphas_bar)
        self._log = np.concatenate([[0.0], np.log(alphas_bar)])  # (T + 1,), alpha-bar(0) = 1
        self._knots = np.arange(len(self._log))

    @cached_property
    def ratio_range(self) -> tuple[float, float]:  # type: ignore[override]
        """sigma / alpha of the first and the last trained step."""
        least, most = (float(self.sigma(t) / self.alpha(t)) for t in self._ends)
        return least, most

    @property
    def _ends(self) -> tuple[float, float]:
        return 1 / self.num_timesteps, 1.0

    def _log_alpha_bar(self, t: Time) -> Time:
        return np.interp(np.multiply(t, self.num_timesteps), self._knots, self._log)

    def _slope(self, t: Time) -> Time:
        """d log alpha-bar / dt, of the interval that ends at t."""
        step = np.ceil(np.multiply(t, self.num_timesteps) - 1e-9).astype(np.int64).clip(1, self._knots[-1])
        return (self._log[step] - self._log[step - 1]) * self.num_timesteps

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

    def start(self, noise: Tensor) -> Tensor:
        """The noise itself: x_T ~ N(0, I) (Ho et al. 2020, algorithm 2)."""
        return noise

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """The time at which log alpha-bar is -log(1 + exp(-log_snr))."""
        log_alpha_bar = -np.logaddexp(0.0, np.negative(log_snr))
        return np.interp(log_alpha_bar, self._log[::-1], self._knots[::-1] / self.num_timesteps)


class ZeroTerminalSchedule(DiscreteSchedule):
    """Trained steps of which the last has alpha-bar = 0 (Lin et al. 2023); in the last interval alpha is linear.

    Args:
        alphas_bar: (T,) falling cumulative products of 1 - beta, the last of them 0.
    """

    def __init__(self, alphas_bar: np.ndarray) -> None:
        super().__init__(alphas_bar[:-1])
        self.num_timesteps = len(alphas_bar)
        self._knee = (self.num_timesteps - 1 + 1e-9) / self.num_timesteps

    @property
    def _ends(self) -> tuple[float, float]:
        return 1 / self.num_timesteps, (self.num_timesteps - 1) / self.num_timesteps

    def _left(self, t: Time) -> Time:
        """What the last interval leaves of alpha: from 1 at its start to 0."""
        return np.clip((1 - np.asarray(t)) * self.num_timesteps, 0, 1)[()]

    def alpha(self, t: Time) -> Time:
        """sqrt(alpha-bar); 0 at t = 1."""
        return super().alpha(t) * self._left(t)

    def sigma(self, t: Time) -> Time:
        """sqrt(1 - alpha-bar)."""
        return np.sqrt(super().sigma(t) ** 2 + super().alpha(t) ** 2 * (1 - self._left(t) ** 2))

    def alpha_prime(self, t: Time) -> Time:
        """As before, and -T alpha(1 - 1/T) in the last interval."""
        last = -super().alpha(t) * self.num_timesteps
        slope: Any = np.where(np.asarray(t) > self._knee, last, super().alpha_prime(t))
        return slope[()]

    def sigma_prime(self, t: Time) -> Time:
        """-alpha alpha' / sigma; infinite at t = 0."""
        with np.errstate(divide="ignore"):
            return np.divide(-self.alpha(t) * self.alpha_prime(t), self.sigma(t))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """As before, and where alpha is linear in the last interval."""
        log_alpha = -np.logaddexp(0.0, np.negative(log_snr)) / 2
        last = 1 - np.exp(np.minimum(log_alpha - self._log[-1] / 2, 0)) / self.num_timesteps
        time: Any = np.where(log_alpha < self._log[-1] / 2, last, super().time_of_log_snr(log_snr))
        return time[()]
