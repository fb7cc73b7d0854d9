"""Coordinates in which the probability-flow ODE is straight wherever the prediction stays the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dit_toolkit.diffusion.schedule import Schedule, Time

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Prediction


class Coordinates:
    """z = x / scale and u, with dz / du = slope: a solver that steps in them does not see how fast a schedule runs.

    Either u = sigma / alpha, z = x / alpha, slope = eps (Karras et al. 2022, equation 1 with sigma(t) = t), or, where
    alpha falls to 0, u = sigma / (alpha + sigma), z = x / (alpha + sigma), slope = eps - x0: the velocity of the
    straight line, so that x and t themselves are the coordinates of linear flow matching.

    Args:
        schedule: alpha(t) and sigma(t).
        bounded: take the second, in which u is within [0, 1], for every schedule.
    """

    def __init__(self, schedule: Schedule, *, bounded: bool = False) -> None:
        self.schedule = schedule
        self.bounded = bounded or float(schedule.alpha(1.0)) < 1e-6

    def scale(self, t: Time) -> Time:
        """What x is divided by at time t, or at an array of times."""
        alpha = self.schedule.alpha(t)
        return alpha + self.schedule.sigma(t) if self.bounded else alpha

    def u(self, t: Time) -> Time:
        """The variable of integration at time t, or at an array of times."""
        return self.schedule.sigma(t) / self.scale(t)

    def time(self, u: Time) -> Time:
        """The time of a value of u, or of an array of them."""
        ratio = u / (1 - u) if self.bounded else u
        return self.schedule.time_of_log_snr(-2 * np.log(ratio))

    def slope(self, found: Prediction) -> Tensor:
        """dz / du (N, C, H, W)."""
        return found.eps - found.x0 if self.bounded else found.eps
