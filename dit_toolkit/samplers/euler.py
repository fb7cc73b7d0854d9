"""Euler's method: first order, one network evaluation a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from dit_toolkit.samplers.clipping import Clipping

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Euler(Clipping):
    """Euler's method on the probability-flow ODE (Song et al. 2021, "Score-based generative modeling", section 4.3).

    The step is taken where the path is straight: along the velocity in flow matching, in sigma / alpha elsewhere
    (Karras et al. 2022). In x both are alpha_s x0 + sigma_s eps, which is DDIM without its noise.
    """

    kind = "euler"

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:  # noqa: ARG002
        """Walk from noise (N, C, H, W) to data."""
        denoiser, times = self.clipped(denoiser), self.times(denoiser)
        ends, x = np.array(times[1:]), noise
        alphas, sigmas = denoiser.schedule.alpha(ends).tolist(), denoiser.schedule.sigma(ends).tolist()
        for t, alpha, sigma in zip(times, alphas, sigmas, strict=False):
            found = denoiser(x, t)
            x = alpha * found.x0 + sigma * found.eps
        return x
