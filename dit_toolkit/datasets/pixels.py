"""From uint8 pixels to what a network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.random import Generator


def normalise(pixels: np.ndarray) -> Tensor:
    """Map pixels uint8 (N, C, H, W) to float32 in [-1, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).float().div_(127.5).sub_(1)


def mirror(x: Tensor, generator: Generator) -> Tensor:
    """Mirror every other image of x (N, C, H, W), at random by sample index."""
    import torch

    mirrored = (generator.rand() < 0.5).to(x.device)[:, None, None, None]  # (N, 1, 1, 1)
    return torch.where(mirrored, x.flip(-1), x)
