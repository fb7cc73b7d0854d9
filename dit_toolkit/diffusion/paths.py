"""Schedules of continuous time: the three paths of SiT, and the growing noise of EDM."""

from __future__ import annotations

import math

import numpy as np

from dit_toolkit.diffusion.schedule import Schedule, Time


class Path(Schedule):
    """A schedule that is trained on the times from `lowest` to `highest`."""

    def __init__(self, lowest: float = 0.0, highest: float = 1.0) -> None:
        self.lowest, self.highest = lowest, highest


class LinearSchedule(Path):
    """The straight line of flow matching: alpha = 1 - t, sigma = t (Lipman et al. 2023; Liu et al. 2023)."""

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


class GVPSchedule(Path):
    """The quarter circle, "generalised variance-preserving" (Albergo et al. 2023; Ma et al. 2024, section 2)."""

    def alpha(self, t: Time) -> Time:
        """cos(pi t / 2), as a sine so that it is 0 at t = 1."""
        return np.sin(math.pi / 2 * (1 - t))

    def sigma(self, t: Time) -> Time:
        """sin(pi t / 2)."""
        return np.sin(math.pi / 2 * t)

    def alpha_prime(self, t: Time) -> Time:
        """-(pi / 2) sigma."""
        return -math.pi / 2 * self.sigma(t)

    def sigma_prime(self, t: Time) -> Time:
        """(pi / 2) alpha."""
        return math.pi / 2 * self.alpha(t)

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """(2 / pi) atan(exp(-log_snr / 2))."""
        with np.errstate(over="ignore"):
            return np.arctan(np.exp(np.divide(log_snr, -2))) * (2 / math.pi)


class VPSchedule(Path):
    """The variance-preserving SDE with beta from 0.1 to 20 (Song et al. 2021, appendix C; Ma et al. 2024, section 2).

    alpha^2 = exp(-integral of beta), so that alpha(1) = 0.0066 and not 0; sigma' is infinite at t = 0.
    """

    BETAS = (0.1, 20.0)

    def _rate(self, t: Time) -> Time:
        low, high = self.BETAS
        return low + (high - low) * t

    def _integral(self, t: Time) -> Time:
        low, high = self.BETAS
        return low * t + (high - low) / 2 * t**2

    def alpha(self, t: Time) -> Time:
        """exp(-(beta_0 t + (beta_1 - beta_0) t^2 / 2) / 2)."""
        return np.exp(self._integral(t) / -2)

    def sigma(self, t: Time) -> Time:
        """sqrt(1 - alpha^2)."""
        return np.sqrt(-np.expm1(-self._integral(t)))

    def alpha_prime(self, t: Time) -> Time:
        """-beta(t) alpha / 2."""
        return self._rate(t) * self.alpha(t) / -2

    def sigma_prime(self, t: Time) -> Time:
        """beta(t) alpha^2 / (2 sigma)."""
        with np.errstate(divide="ignore"):
            return np.divide(self._rate(t) * self.alpha(t) ** 2 / 2, self.sigma(t))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """The root of beta_0 t + (beta_1 - beta_0) t^2 / 2 = log(1 + exp(-log_snr))."""
        low, high = self.BETAS
        integral = np.logaddexp(0.0, np.negative(log_snr))
        return np.minimum(2 * integral / (low + np.sqrt(low**2 + 2 * (high - low) * integral)), 1.0)


class GrowingSchedule(Path):
    """Noise that grows over data that stay: alpha = 1, sigma = sigma_max t (Karras et al. 2022, table 1, "EDM")."""

    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        super().__init__(lowest=sigma_min / sigma_max)
        self.sigma_max, self.ratio_range = sigma_max, (sigma_min, sigma_max)

    def alpha(self, t: Time) -> Time:
        """1."""
        return t * 0 + 1

    def sigma(self, t: Time) -> Time:
        """sigma_max t."""
        return t * self.sigma_max

    def alpha_prime(self, t: Time) -> Time:
        """0."""
        return t * 0

    def sigma_prime(self, t: Time) -> Time:
        """sigma_max."""
        return t * 0 + self.sigma_max

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """exp(-log_snr / 2) / sigma_max, at most 1."""
        return np.exp(np.minimum(np.divide(log_snr, -2) - math.log(self.sigma_max), 0))
