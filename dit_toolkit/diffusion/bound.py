"""Terms of the variational bound, in bits per dimension (Ho et al. 2020, equation 5; Nichol & Dhariwal 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normal_kl(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL divergence of two diagonal Gaussians, elementwise, in bits."""
    ratio = torch.exp(logvar1 - logvar2) + (mean1 - mean2).square() * torch.exp(-logvar2)
    return (logvar2 - logvar1 + ratio - 1) / (2 * math.log(2))


def discretised_nll(x: Tensor, mean: Tensor, logvar: Tensor, bins: int = 256) -> Tensor:
    """Bits of data x in [-1, 1], rounded to `bins` levels, under a Gaussian whose outer bins reach to infinity."""
    half = 1 / (bins - 1)
    std = torch.exp(logvar / 2)
    upper = torch.where(x > 1 - half, torch.ones_like(x), _normal_cdf((x - mean + half) / std))
    lower = torch.where(x < -1 + half, torch.zeros_like(x), _normal_cdf((x - mean - half) / std))
    return -torch.log((upper - lower).clamp(min=1e-12)) / math.log(2)


def _normal_cdf(x: Tensor) -> Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2
