"""The pixels themselves: no network, nothing to download."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le, optional

from dit_toolkit.components import Extractor, See


@frozen(kw_only=True)
class Pixels(Extractor):
    """Pixels from 0 to 1 as features. Distances between them say little of what people see; they need no network."""

    kind = "pixels"
    size: int | None = field(default=None, validator=optional([ge(1), le(4_096)]))
    """Height and width to which images are averaged (box filter); theirs unless given."""
    grey: bool = False
    """Average the three channels."""

    @property
    def name(self) -> str:
        """With the options that change the features: `pixels-8-grey`."""
        return "-".join(["pixels", *([str(self.size)] if self.size else []), *(["grey"] if self.grey else [])])

    def fingerprint(self) -> str:
        """The options, which decide all."""
        return self.name

    def load(self, device: str = "cpu") -> See:  # noqa: ARG002 - there is next to nothing to compute
        """Return what gives "features" (N, height x width x channels)."""

        def see(images: np.ndarray) -> dict[str, np.ndarray]:
            x = images.mean(3, dtype=np.float32, keepdims=True) if self.grey else images.astype(np.float32)
            if self.size:
                x = np.einsum("ai,nijc,bj->nabc", _box(x.shape[1], self.size), x, _box(x.shape[2], self.size))
            return {"features": (x / np.float32(255)).reshape(len(x), -1)}

        return see


def _box(length: int, size: int) -> np.ndarray:
    """Weights (size, length) by which each of `size` equal parts averages `length` pixels, float32."""
    edges = np.arange(size + 1) * (length / size)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)
    covered = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    weights: np.ndarray = (covered * (size / length)).astype(np.float32)
    return weights
