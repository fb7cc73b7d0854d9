"""Terms of the variational bound, in bits per dimension (Ho et al. 2020, equation 5; Nichol & Dhariwal 2021)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dit_toolkit.diffusion.discrete import DiscreteSchedule
from dit_toolkit.diffusion.schedule import posterior


def step_bits(
    schedule: DiscreteSchedule, t: np.ndarray, x: Tensor, x0: Tensor, predicted: Tensor, fraction: Tensor
) -> Tensor:
    """Bits (N, C, H, W) that one reverse step costs: KL(q(x_s | x_t, x0) || p(x_s | x_t)), and -log p(x0 | x_1) last.

    Args:
        t: (N,) times of trained steps; s is the step before, or the data.
        x, x0, predicted: (N, C, H, W) x_t, the data, and what the network makes of x_t.
        fraction: (N, C, H, W) where log variance lies between beta-tilde (0) and beta (1). The first beta-tilde, which
            is 0, is replaced by the second (Nichol & Dhariwal 2021, section 3.1).
    """
    step = np.rint(t * schedule.num_timesteps)  # (N,) 1 .. T
    first = posterior(schedule, 2 / schedule.num_timesteps, 1 / schedule.num_timesteps).variance
    q = posterior(schedule, t, (step - 1) / schedule.num_timesteps)
    lower, upper = np.log(np.where(step == 1, first, q.variance)), np.log(q.step_variance)
    rows = torch.as_tensor(np.stack([q.x0_factor, q.x_factor, lower, upper, step])).to(x.dtype).to(x.device)
    x0_factor, x_factor, low, high, number = rows[..., None, None, None]  # (N, 1, 1, 1) each
    mean, logvar = x0_factor * predicted + x_factor * x, low + fraction * (high - low)  # (N, C, H, W) each
    bits = normal_kl(x0_factor * x0 + x_factor * x, low, mean, logvar)  # (N, C, H, W)
    if not (step == 1).any():
        return bits
    return torch.where(number == 1, discretised_nll(x0, mean, logvar), bits)


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
