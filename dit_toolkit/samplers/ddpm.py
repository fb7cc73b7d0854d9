"""Ancestral sampling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

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
        posteriors = [posterior(denoiser.schedule, t, s) for t, s in pairwise(times)]
        x = noise
        for (t, s), q in zip(pairwise(times), posteriors, strict=True):
            found = denoiser(x, t)
            x = float(q.x0_factor) * found.x0 + float(q.x_factor) * x
            if s == 0:
                break
            z = randn_like(x, generator)
            if self.variance == "learned-range":
                if found.variance_fraction is None:
                    raise ValueError("variance 'learned-range' needs a network with a learned variance")
                low, high = math.log(q.variance) / 2, math.log(q.step_variance) / 2
                x = x + torch.exp(low + found.variance_fraction * (high - low)) * z
            else:
                x = x + math.sqrt(q.variance if self.variance == "fixed-small" else q.step_variance) * z
        return x
