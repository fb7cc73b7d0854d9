"""Latents and labels in one .npz file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_toolkit.errors import DataError
from dit_toolkit.latents.caches.cache import Cache, Facts, refuse_label
from dit_toolkit.latents.numpy_files import names_in_npz, read_npz


class Npz(Cache):
    """`latents` (N, C, h, w), or `moments` (N, 2C, h, w) with mean and standard deviation, and `labels` (N,).

    All unscaled, and held in memory.
    """

    def __init__(self, path: Path, facts: Facts) -> None:
        found = set(names_in_npz(path)) & {"latents", "moments"}
        if len(found) != 1:
            raise DataError(f"{path}: must hold one of the arrays latents and moments, has {sorted(found) or 'none'}")
        [name] = found
        latents, labels = read_npz(path, [name, "labels"])
        if latents.dtype.kind != "f" or latents.ndim != 4 or 0 in latents.shape:
            raise DataError(
                f"{path}: {name} are {latents.dtype} {latents.shape}; expected floats (N, channels, height, width)"
            )
        parts = 2 if name == "moments" else 1
        if latents.shape[1] % parts:
            raise DataError(f"{path}: moments have {latents.shape[1]} channels; expected an even number")
        if labels.shape != latents.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(f"{path}: labels are {labels.dtype} {labels.shape} for {len(latents)} {name}")
        refuse_label(labels, len(facts.names), lambda row: f"{path}: image {row}")
        if facts.scaling is None:
            raise DataError(
                f"{path}: it is not known how its latents are scaled; give the scaling factor by which they are "
                "multiplied: 0.18215 for those of Stable Diffusion's autoencoder as it gives them, 1 for those that "
                "have been scaled already"
            )
        rows, channels, *sides = latents.shape
        self._latents = torch.from_numpy(np.ascontiguousarray(latents)).view(rows, parts, channels // parts, *sides)
        super().__init__(
            path,
            labels.astype(np.int64),
            self._latents.shape[2:],
            facts.names,
            facts.scaling,
            moments=parts == 2,
            flip=False,
            augmented=facts.augmented,
        )

    def read(self, rows: np.ndarray, mirrored: np.ndarray | int) -> Tensor:  # noqa: ARG002 - there are none
        """One latent, or mean and standard deviation, each, (N, parts, C, h, w)."""
        return torch.index_select(self._latents, 0, torch.from_numpy(rows))
