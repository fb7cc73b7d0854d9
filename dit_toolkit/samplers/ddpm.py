"""Ancestral sampling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.components import Objective
from dit_toolkit.samplers.clipping import Clipping

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class DDPMSampler(Clipping):
    """Ancestral sampling (Ho et al. 2020, algorithm 2), on a respaced list of the trained steps."""

    kind = "ddpm"
    num_steps: int = field(default=250, validator=[ge(1), le(1_000_000)])
    variance: Literal["learned-range", "fixed-small", "fixed-large"] = "learned-range"
    """Of a reverse step: what the network says (Nichol & Dhariwal 2021), beta-tilde, or beta."""

    def check(self, objective: Objective) -> None:
        """Refuse a learned range without a learned variance, and steps that the objective does not have."""
        if self.variance == "learned-range" and not getattr(objective, "learn_sigma", False):
            raise ValueError(
                f"variance 'learned-range' needs an objective with learn_sigma = true; {objective.kind!r} here "
                "predicts no variance: use 'fixed-small' or 'fixed-large'"
            )
        super().check(objective)

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data; the last step adds no noise."""
        import torch

        from dit_toolkit.diffusion.schedule import posterior
        from dit_toolkit.random import randn_like

        denoiser, times = self.clipped(denoiser), self.times(denoiser)
        q = posterior(denoiser.schedule, np.array(times[:-1]), np.array(times[1:]))
        deviations = np.sqrt(np.maximum([q.variance, q.step_variance], 0.0))  # (2, num_steps): least and most
        factors = np.stack([q.x0_factor, q.x_factor, *deviations], 1).tolist()
        x = noise
        for (t, s), (x0_factor, x_factor, low, high) in zip(pairwise(times), factors, strict=True):
            found = denoiser(x, t)
            x = x0_factor * found.x0 + x_factor * x
            if s == 0:
                break
            z = randn_like(x, generator)
            if self.variance == "learned-range":
                if found.variance_fraction is None:
                    raise ValueError("variance 'learned-range' needs a network with a learned variance")
                log_low, log_high = math.log(low), math.log(high)
                x = x + torch.exp(log_low + found.variance_fraction * (log_high - log_low)) * z
            else:
                x = x + (low if self.variance == "fixed-small" else high) * z
        return x
