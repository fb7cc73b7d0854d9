"""Reads a split of a latent store from a memory map: a batch is one gather."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_toolkit.distributed import to_device
from dit_toolkit.errors import DataError
from dit_toolkit.files import sha256
from dit_toolkit.latents.drawn import DrawnLatents
from dit_toolkit.latents.holding import hold
from dit_toolkit.latents.layout import layout
from dit_toolkit.latents.manifest import SIZES, Manifest, Memory
from dit_toolkit.latents.scaling import Scaling


class LatentSplit(DrawnLatents):
    """A split of a store; mapped, nothing is read before it is asked for, the labels excepted.

    Raises:
        DataError: there is no such split, or its file is missing, cut off or not what the manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str, memory: Memory = "mapped") -> None:
        if split not in manifest.splits:
            raise DataError(f"{folder}: has no split {split}; it has {', '.join(manifest.splits)}")
        entry = manifest.splits[split]
        self.path, self.manifest = folder / entry.file, manifest
        place = layout(manifest, entry)
        labels = self._read_labels(place.header, place.end, entry.rows)
        if sha256(labels.tobytes()) != entry.labels_sha256:
            raise DataError(f"{self.path}: its labels have changed since they were written")
        if labels.min() < 0 or labels.max() >= len(manifest.class_names):
            raise DataError(
                f"{self.path}: labels go from {labels.min()} to {labels.max()}, "
                f"but there are classes 0 to {len(manifest.class_names) - 1}"
            )
        super().__init__(
            labels,
            np.setdiff1d(np.arange(entry.rows), [skip.row for skip in entry.skipped]),
            moments=manifest.content == "moments",
            flip=manifest.flip,
            augmented=split == "train",
            scaling=Scaling(tuple(manifest.shift), tuple(manifest.scale)),
        )
        self.versions = hold(self._map(place.latents, entry.rows), memory, self.path)
        """(rows * versions, parts, C, h, w)."""

    def read(self, rows: np.ndarray, mirrored: np.ndarray | int) -> Tensor:
        """Copy rows (N,) in one gather, (N, parts, C, h, w)."""
        places = torch.from_numpy(rows * self.manifest.versions + mirrored)
        return torch.index_select(self.versions, 0, to_device(places, self.versions.device))

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
