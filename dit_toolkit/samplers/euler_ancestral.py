"""Euler's method with fresh noise in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.samplers.clipping import Clipping

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class EulerAncestral(Clipping):
    """Ancestral Euler sampling as k-diffusion has it (Crowson 2022): down further than the step ends, then up by noise.

    In sigma / alpha it steps to sqrt(s^2 - up^2) and adds noise of deviation up = eta s sqrt(1 - s^2 / t^2), capped at
    s. Up to eta = 1 that is DDIM with this eta (Song et al. 2021, equation 16).
    """

    kind = "euler-ancestral"
    eta: float = field(default=1.0, validator=[ge(0), le(100)])
    """Factor of the fresh noise: 0 is Euler's method, 1 has the variance of DDPM, more is capped at all noise."""

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data."""
        from dit_toolkit.diffusion.schedule import posterior
        from dit_toolkit.random import randn_like

        denoiser, times = self.clipped(denoiser), self.times(denoiser)
        starts, ends, x = np.array(times[:-1]), np.array(times[1:]), noise
        alphas, sigmas = denoiser.schedule.alpha(ends), denoiser.schedule.sigma(ends)
        ups = np.minimum(sigmas, self.eta * np.sqrt(posterior(denoiser.schedule, starts, ends).variance))
        factors = np.stack([alphas, np.sqrt(sigmas**2 - ups**2), ups], 1).tolist()
        for t, (alpha, down, up) in zip(times, factors, strict=False):
            found = denoiser(x, t)
            x = alpha * found.x0 + down * found.eps
            if up > 0:
                x = x + up * randn_like(x, generator)
        return x
