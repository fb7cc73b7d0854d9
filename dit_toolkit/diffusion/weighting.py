"""Weights of the squared error of x0 as functions of SNR = alpha^2 / sigma^2, and what they are for a target.

At a given x an error of the target is one of x0, so one rule gives the right form for every target.
"""

from __future__ import annotations

import numpy as np

from dit_toolkit.diffusion.schedule import Schedule
from dit_toolkit.diffusion.targets import Target


def min_snr(snr: np.ndarray, gamma: float) -> np.ndarray:
    """min(SNR, gamma): that over SNR for the noise, over SNR + 1 for v (Hang et al. 2023)."""
    return np.minimum(snr, gamma)


def p2(snr: np.ndarray, gamma: float, k: float) -> np.ndarray:
    """SNR / (k + SNR)^gamma: 1 / (k + SNR)^gamma for the noise (Choi et al. 2022, equation 8)."""
    return snr / (k + snr) ** gamma


def of_target(schedule: Schedule, target: Target, t: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights (N,) of the target's squared error that give x0's squared error the weights `weight` (N,)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    a, b = target(schedule, t)
    return weight * (sigma / (alpha * b - sigma * a)) ** 2
