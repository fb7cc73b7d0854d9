"""Implicit sampling: fewer steps, and none of them random unless asked."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import ge, gt, le, optional

from dit_toolkit.samplers.stepped import Stepped

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator

CLIP: list[Any] = [gt(0), le(1e6)]


@frozen(kw_only=True)
class DDIMSampler(Stepped):
    """Denoising diffusion implicit models (Song et al. 2021, equation 12), on a respaced list of the trained steps."""

    kind = "ddim"
    eta: float = field(default=0.0, validator=[ge(0), le(1)])
    """Share of the DDPM noise in every step: 0 is deterministic, 1 has the variance beta-tilde."""
    clip_x0: float | None = field(default=None, validator=optional(CLIP))
    """Clip predicted data to [-clip_x0, clip_x0]; 1.0 suits pixels, nothing suits latents."""

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data; a learnt variance is ignored."""
        from dit_toolkit.diffusion.schedule import posterior
        from dit_toolkit.random import randn_like

        schedule, x, times = denoiser.schedule, noise, self.times(denoiser)
        for t, s in pairwise(times):
            prediction = denoiser(x, t)
            x0, eps = prediction.x0, prediction.eps
            if self.clip_x0 is not None:
                x0 = x0.clamp(-self.clip_x0, self.clip_x0)
                eps = (x - float(schedule.alpha(t)) * x0) / float(schedule.sigma(t))
            variance = self.eta**2 * float(posterior(schedule, t, s).variance) if self.eta else 0.0
            x = float(schedule.alpha(s)) * x0 + math.sqrt(max(float(schedule.sigma(s)) ** 2 - variance, 0.0)) * eps
            if variance > 0:
                x = x + math.sqrt(variance) * randn_like(x, generator)
        return x
