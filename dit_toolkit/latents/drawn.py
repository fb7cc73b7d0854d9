"""Latents that are drawn anew at each reading: what a store and the caches of other programs share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from dit_toolkit.distributed import to_device
from dit_toolkit.latents.scaling import PLAIN, Scaling
from dit_toolkit.random import Generator


class DrawnLatents(ABC):
    """Scaled latents (C, h, w) of some rows, and their labels int64 (len,)."""

    def __init__(
        self,
        labels: np.ndarray,
        kept: np.ndarray,
        *,
        moments: bool,
        flip: bool,
        augmented: bool,
        scaling: Scaling = PLAIN,
    ) -> None:
        """Choose the rows `kept` (len,) of labels int64 (rows,).

        Args:
            moments: whether a row has mean and standard deviation, or one latent.
            flip: whether it has those of the mirrored image too.
            augmented: whether one of both is drawn.
            scaling: from what is read to what a model sees.
        """
        self.moments, self.flip, self.augmented = moments, flip, augmented
        self.scaling = self.made_with = scaling
        """`made_with` is from the latents of the autoencoder to what a model sees, also where that is what is read."""
        self.shift, self.scale = (torch.tensor(numbers).reshape(-1, 1, 1) for numbers in (scaling.shift, scaling.scale))
        self.shifted, self.unscaled = bool(self.shift.any()), bool((self.scale != 1).any())
        self.all_labels = labels
        self.keep(kept)

    def keep(self, kept: np.ndarray) -> None:
        """Give out the rows `kept` (len,) alone."""
        self.kept, self.labels = kept, self.all_labels[kept]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, rows: np.ndarray, mirrored: np.ndarray | int) -> Tensor:
        """Copy rows (N,) as they are stored, (N, parts, C, h, w); `mirrored` (N,) is 1 for the mirrored image."""

    def gather(self, indices: np.ndarray, mirrored: np.ndarray | int = 0) -> Tensor:
        """Copy items (N,) as they are stored, (N, parts, C, h, w)."""
        return self.read(self.kept[indices], mirrored)

    def batch(self, indices: np.ndarray, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Give x (N, C, h, w) float32 as a model sees it and y (N,) int64.

        With a generator: a sample of each posterior, in training of the mirrored image every other time, on the
        generator's device. Without: the mean.
        """
        mirrored: np.ndarray | int = 0
        if generator is not None and self.augmented and self.flip:
            mirrored = (generator.rand() < 0.5).long().numpy()
        stored = self.gather(indices, mirrored)  # (N, parts, C, h, w)
        if generator is not None:
            stored = to_device(stored, generator.index.device)
        x = stored[:, 0].float()  # (N, C, h, w)
        if generator is not None and self.moments:
            x = x + stored[:, 1].float() * generator.randn_like(x)
        return self.scale_of(x), torch.from_numpy(self.labels[indices])

    def scale_of(self, z: Tensor) -> Tensor:
        """Scale stored latents (N, C, h, w) as a model sees them, float32."""
        z = z.float()
        if self.shifted:
            z = z - self.shift.to(z.device)
        return z * self.scale.to(z.device) if self.unscaled else z
