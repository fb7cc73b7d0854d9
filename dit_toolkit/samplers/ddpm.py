"""Ancestral sampling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, le, optional

from dit_toolkit.components import Objective
from dit_toolkit.samplers.stepped import Stepped

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator

CLIP: list[Any] = [gt(0), le(1e6)]


@frozen(kw_only=True)
class DDPMSampler(Stepped):
    """Ancestral sampling (Ho et al. 2020, algorithm 2), on a respaced list of the trained steps."""

    kind = "ddpm"
    num_steps: int = field(default=250, validator=[ge(1), le(1_000_000)])
    variance: Literal["learned-range", "fixed-small", "fixed-large"] = "learned-range"
    """Of a reverse step: what the network says (Nichol & Dhariwal 2021), beta-tilde, or beta."""
    clip_x0: float | None = field(default=None, validator=optional(CLIP))
    """Clip predicted data to [-clip_x0, clip_x0]; 1.0 suits pixels, nothing suits latents."""

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

        x, times = noise, self.times(denoiser)
        for t, s in pairwise(times):
            prediction = denoiser(x, t)
            x0 = prediction.x0 if self.clip_x0 is None else prediction.x0.clamp(-self.clip_x0, self.clip_x0)
            q = posterior(denoiser.schedule, t, s)
            x = q.x0_factor * x0 + q.x_factor * x
            if s == 0:
                break
            z = randn_like(x, generator)
            if self.variance == "learned-range":
                if prediction.variance_fraction is None:
                    raise ValueError("variance 'learned-range' needs a network with a learned variance")
                low, high = math.log(q.variance) / 2, math.log(q.step_variance) / 2
                x = x + torch.exp(low + prediction.variance_fraction * (high - low)) * z
            else:
                x = x + math.sqrt(q.variance if self.variance == "fixed-small" else q.step_variance) * z
        return x
