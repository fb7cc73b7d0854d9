"""Reads a split of a latent store from a memory map: a batch is one gather."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_toolkit.errors import DataError
from dit_toolkit.files import sha256
from dit_toolkit.latents.layout import layout
from dit_toolkit.latents.manifest import SIZES, Manifest
from dit_toolkit.random import Generator


class LatentSplit:
    """Scaled latents (C, h, w) and labels int64 (len,); nothing is read before it is asked for, the labels excepted.

    Raises:
        DataError: there is no such split, or its file is missing, cut off or not what the manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str) -> None:
        if split not in manifest.splits:
            raise DataError(f"{folder}: has no split {split}; it has {', '.join(manifest.splits)}")
        entry = manifest.splits[split]
        self.path, self.manifest = folder / entry.file, manifest
        self.augmented = split == "train"
        place = layout(manifest, entry)
        labels = self._read_labels(place.header, place.end, entry.rows)
        if sha256(labels.tobytes()) != entry.labels_sha256:
            raise DataError(f"{self.path}: its labels have changed since they were written")
        if labels.min() < 0 or labels.max() >= len(manifest.class_names):
            raise DataError(
                f"{self.path}: labels go from {labels.min()} to {labels.max()}, "
                f"but there are classes 0 to {len(manifest.class_names) - 1}"
            )
        self.kept = np.setdiff1d(np.arange(entry.rows), [skip.row for skip in entry.skipped])  # (len,)
        """Rows that hold a latent."""
        self.labels = labels[self.kept]
        self.versions = self._map(place.latents, entry.rows)  # (rows * versions, parts, C, h, w)
        self.shift, self.scale = (
            torch.tensor(numbers).reshape(-1, 1, 1) for numbers in (manifest.shift, manifest.scale)
        )
        self.shifted, self.unscaled = bool(self.shift.any()), bool((self.scale != 1).any())

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: np.ndarray, mirrored: np.ndarray | int = 0) -> Tensor:
        """Copy items as they are stored, (N, parts, C, h, w); `mirrored` (N,) is 1 for those of the mirrored image."""
        places = self.kept[indices] * self.manifest.versions + mirrored
        return torch.index_select(self.versions, 0, torch.from_numpy(places))

    def batch(self, indices: np.ndarray, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Give x (N, C, h, w) float32 as a model sees it and y (N,) int64.

        With a generator: a sample of each posterior, in training of the mirrored image every other time, on the
        generator's device. Without: the mean.
        """
        mirrored: np.ndarray | int = 0
        if generator is not None and self.augmented and self.manifest.flip:
            mirrored = (generator.rand() < 0.5).long().cpu().numpy()
        stored = self.gather(indices, mirrored)  # (N, parts, C, h, w)
        if generator is not None:
            stored = stored.to(generator.index.device)
        x = stored[:, 0].float()  # (N, C, h, w)
        if generator is not None and self.manifest.content == "moments":
            x = x + stored[:, 1].float() * generator.randn_like(x)
        return self.scale_of(x), torch.from_numpy(self.labels[indices])

    def scale_of(self, z: Tensor) -> Tensor:
        """Scale stored latents (N, C, h, w) as a model sees them, float32."""
        z = z.float()
        if self.shifted:
            z = z - self.shift.to(z.device)
        return z * self.scale.to(z.device) if self.unscaled else z

    def _read_labels(self, header: bytes, end: int, rows: int) -> np.ndarray:
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                if size != end:
                    raise DataError(f"{self.path}: has {size:,} bytes instead of {end:,}; it is cut off or another's")
                if file.read(len(header)) != header:
                    raise DataError(f"{self.path}: its header is not that of the manifest beside it")
                return np.fromfile(file, "<i8", rows)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _map(self, offset: int, rows: int) -> Tensor:
        manifest = self.manifest
        shape = (rows * manifest.versions, manifest.parts, *manifest.latent)
        words = np.int16 if SIZES[manifest.dtype] == 2 else np.int32  # numpy has no bfloat16
        mapped = np.memmap(self.path, words, "c", offset, shape)  # copy-on-write: torch wants writable memory
        return torch.from_numpy(mapped).view(getattr(torch, manifest.dtype))
