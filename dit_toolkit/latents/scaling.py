"""From the latents of an autoencoder to what a model sees."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from torch import Tensor


@frozen
class Scaling:
    """A model sees (z - shift) * scale of a latent z as the autoencoder gives it; for each channel, or for all."""

    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, shift: Tensor, scale: Tensor) -> Scaling:
        """Take the numbers of tensors."""
        return cls(tuple(shift.flatten().tolist()), tuple(scale.flatten().tolist()))

    def like(self, other: Scaling) -> bool:
        """Whether both do the same, within the rounding of float32."""
        pairs = ((self.shift, other.shift), (self.scale, other.scale))
        return all(
            (len(one) == len(two) or 1 in (len(one), len(two))) and np.allclose(one, two, rtol=1e-5, atol=1e-7)
            for one, two in pairs
        )

    def __str__(self) -> str:
        shift, scale = (
            f"{numbers[0]:g}" if len(set(numbers)) == 1 else f"({numbers[0]:g}, ...)"
            for numbers in (self.shift, self.scale)
        )
        shifted = "z" if shift == "0" else f"(z - {shift})"
        return shifted if scale == "1" else f"{shifted} * {scale}"


PLAIN = Scaling()
