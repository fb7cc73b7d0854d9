"""The variances beta (T,) of T trained steps, in float64."""

from __future__ import annotations

import math

import numpy as np


def linear(total: int, start: float, end: float) -> np.ndarray:
    """Even from start to end (Ho et al. 2020, section 4)."""
    return np.linspace(start, end, total)


def scaled_linear(total: int, start: float, end: float) -> np.ndarray:
    """Even in the square root (Rombach et al. 2022, the code of latent diffusion)."""
    return np.linspace(math.sqrt(start), math.sqrt(end), total) ** 2


def sigmoid(total: int, start: float, end: float) -> np.ndarray:
    """A logistic curve over (-6, 6) from start to end (Xu et al. 2022, the code of GeoDiff)."""
    return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, total)))


def squared_cosine(total: int) -> np.ndarray:
    """alpha-bar = cos^2, each beta at most 0.999 (Nichol & Dhariwal 2021, equation 17)."""
    knots = np.cos((np.arange(total + 1) / total + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - knots[1:] / knots[:-1], 0.999)


def rescale_to_zero_snr(betas: np.ndarray) -> np.ndarray:
    """Shift and scale sqrt(alpha-bar) so that the last is 0 and the first stays (Lin et al. 2023, algorithm 1)."""
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alphas_bar = np.concatenate([[1.0], root**2])
    return 1 - alphas_bar[1:] / alphas_bar[:-1]


SCALED = {"linear": linear, "scaled-linear": scaled_linear, "sigmoid": sigmoid}
"""Those that run from a start to an end."""
