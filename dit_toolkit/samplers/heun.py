"""Heun's method: second order, two network evaluations a step."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.samplers.stepped import Stepped

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Heun(Stepped):
    """Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1, deterministic)."""

    kind = "heun"
    order = 2
    calls_per_step = 2
    num_steps: int = field(default=25, validator=[ge(1), le(1_000_000)])

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:  # noqa: ARG002
        """Walk from noise (N, C, H, W) to data; the last step is Euler's, which needs no velocity at t = 0."""
        x = noise
        for t, s in pairwise(self.times(denoiser)):
            here = denoiser(x, t).velocity
            ahead = x + (s - t) * here
            x = ahead if s == 0 else x + (s - t) / 2 * (here + denoiser(ahead, s).velocity)
        return x
