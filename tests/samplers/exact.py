"""Samplers on data whose denoiser is exact: their mean and deviation without drawing, and a mixture of Gaussians."""

import math

import numpy as np
import torch

from dit_toolkit.diffusion.denoiser import Prediction
from dit_toolkit.testing import Gaussian

MEAN, STD = 0.1, 0.2


class Impulses:
    """In place of a generator: draw j is 1 in sample j + 2 and 0 in all others."""

    def __init__(self):
        self.draws = 0

    def randn_like(self, x):
        z = torch.zeros_like(x)
        z[self.draws + 2] = 1.0
        self.draws += 1
        return z


def moments(sampler, denoiser, draws):
    """Mean and deviation of a sampler's results over all noise, exactly: for a Gaussian denoiser it is linear in it."""
    noise = torch.zeros(2 + draws, 1, 1, 1, dtype=torch.float64)
    noise[1] = 1.0
    x = sampler.sample(denoiser, denoiser.schedule.start(noise), generator=Impulses()).flatten()
    return float(x[0]), math.sqrt(float((x[1:] - x[0]).square().sum()))


class Even(Gaussian):
    """Steps even in log(alpha / sigma) between finite ends, at which multistep methods have their full order."""

    def __init__(self, objective, low=-4.0, high=3.0):
        super().__init__(objective, MEAN, STD)
        self.low, self.high, self.times = low, high, self.even

    def even(self, num_steps, spacing="uniform"):
        ratios = np.linspace(self.low, self.high, num_steps + 1)
        return np.asarray(self.schedule.time_of_log_snr(2 * ratios)).tolist()

    def on_path(self, t, eps):
        """Where the path that ends in MEAN + STD eps is at t."""
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        return alpha * MEAN + math.hypot(alpha * STD, sigma) * eps

    def error(self, sampler):
        """Of the ends of paths, in units of the data's deviation."""
        first, *_, last = sampler.times(self)
        eps = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
        ends = sampler.sample(self, self.on_path(first, eps))
        return float((ends - self.on_path(last, eps)).abs().max()) / STD


class Mixture:
    """The exact denoiser of data from a mixture of Gaussians in two dimensions, as images (2, 1, 1)."""

    def __init__(self, objective):
        self.objective, self.schedule, self.times = objective, objective.schedule, objective.times
        self.means = torch.tensor([[-1.0, -0.8], [0.9, -0.4], [0.1, 1.1]], dtype=torch.float64)
        self.stds = torch.tensor([0.15, 0.3, 0.2], dtype=torch.float64)
        self.weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)

    def draw(self, number, seed):
        """Samples (number, 2, 1, 1) of the data."""
        source = torch.Generator().manual_seed(seed)
        which = torch.multinomial(self.weights, number, replacement=True, generator=source)
        eps = torch.randn(number, 2, dtype=torch.float64, generator=source)
        return (self.means[which] + self.stds[which, None] * eps)[:, :, None, None]

    def __call__(self, x, t):
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        flat = x.flatten(1)[:, None]  # (N, 1, 2)
        variance = (alpha * self.stds) ** 2 + sigma**2  # (3,)
        away = flat - alpha * self.means  # (N, 3, 2)
        logits = self.weights.log() - variance.log() - away.square().sum(2) / (2 * variance)  # (N, 3)
        each = self.means + (alpha * self.stds**2 / variance)[:, None] * away  # (N, 3, 2)
        x0 = (logits.softmax(1)[:, :, None] * each).sum(1)[:, :, None, None]  # (N, 2, 1, 1)
        eps = (x - alpha * x0) / sigma
        velocity = float(self.schedule.alpha_prime(t)) * x0 + float(self.schedule.sigma_prime(t)) * eps
        return Prediction(x0, eps, velocity, torch.zeros_like(x))


def p_value(first, second, permutations=200):
    """Of the permutation test of the energy distance (Szekely & Rizzo 2004) of two samples of equal size (N, ...)."""
    both = torch.cat([first, second]).flatten(1)
    distances = torch.cdist(both, both)  # (2 N, 2 N)
    signs = torch.ones(len(both), permutations + 1, dtype=both.dtype)
    signs[len(first) :] = -1
    source = torch.Generator().manual_seed(0)
    for column in range(1, permutations + 1):
        signs[:, column] = signs[torch.randperm(len(both), generator=source), column]
    statistics = -(signs * (distances @ signs)).sum(0)  # larger where the samples differ
    return float((statistics[1:] >= statistics[0]).double().mean())
