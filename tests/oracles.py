"""Denoisers whose answers are known in closed form."""

import torch

from dit_toolkit.diffusion.denoiser import Prediction


class Gaussian:
    """The optimal denoiser of data from N(mean, std^2) in every pixel; counts its calls."""

    def __init__(self, objective, mean=0.3, std=0.5, fraction=0.0):
        self.objective, self.mean, self.std, self.fraction = objective, mean, std, fraction
        self.schedule, self.times = objective.schedule, objective.times
        self.calls = []

    def __call__(self, x, t):
        self.calls.append(t)
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        x0 = self.mean + gain * (x - alpha * self.mean)
        eps = (x - alpha * x0) / sigma
        velocity = float(self.schedule.alpha_prime(t)) * x0 + float(self.schedule.sigma_prime(t)) * eps
        return Prediction(x0, eps, velocity, torch.full_like(x, self.fraction))
