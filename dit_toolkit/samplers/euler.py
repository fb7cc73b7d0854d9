"""Euler's method: first order, one network evaluation a step."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.samplers.stepped import Stepped

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Euler(Stepped):
    """Euler's method on the probability-flow ODE (Song et al. 2021, "Score-based generative modeling", section 4.3)."""

    kind = "euler"

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:  # noqa: ARG002
        """Walk from noise (N, C, H, W) to data along the velocity."""
        x = noise
        for t, s in pairwise(self.times(denoiser)):
            x = x + (s - t) * denoiser(x, t).velocity
        return x
