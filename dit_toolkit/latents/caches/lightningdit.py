"""The caches of LightningDiT: safetensors shards, and a file with the mean and deviation of each channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from dit_toolkit.errors import DataError
from dit_toolkit.latents.caches.cache import Cache, Facts, refuse_label
from dit_toolkit.latents.scaling import Scaling

STATS = "latents_stats.pt"


class LightningDiT(Cache):
    """Shards `*.safetensors` with `latents` (n, C, h, w), `labels` (n,) and, for mirrored images, `latents_flip`.

    A model sees (z - mean) / std times a factor (1 unless given), with mean and std (1, C, 1, 1) of latents_stats.pt.
    Without that file, it sees z times the factor. The statistics are those of train, also for val.
    """

    def __init__(self, folder: Path, facts: Facts) -> None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise DataError(f"{folder}: holds no .safetensors file")
        self.shards = [_Shard(file) for file in files]
        first = self.shards[0]
        for shard in self.shards:
            if shard.latent != first.latent or len(shard.versions) != len(first.versions):
                raise DataError(
                    f"{shard.file}: has {len(shard.versions)} x {shard.latent} for each image, {first.file.name} "
                    f"{len(first.versions)} x {first.latent}"
                )
            refuse_label(shard.labels, len(facts.names), shard.name)
        self.starts = np.cumsum([0, *(len(shard.labels) for shard in self.shards)])
        super().__init__(
            folder,
            np.concatenate([shard.labels for shard in self.shards]),
            first.latent,
            facts.names,
            _scaling((folder.parent / "train" if folder.name == "val" else folder) / STATS, facts),
            moments=False,
            flip=len(first.versions) == 2,
            augmented=facts.augmented,
        )

    def name(self, row: int) -> str:
        """The shard, and the place in it."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.shards[number].name(row - int(self.starts[number]))

    def read(self, rows: np.ndarray, mirrored: np.ndarray | int) -> Tensor:
        """One latent each, (N, 1, C, h, w) in the type of the shards."""
        mirrored = np.broadcast_to(mirrored, rows.shape)
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        stored = torch.empty(len(rows), 1, *self.latent, dtype=self.shards[0].versions[0].dtype)
        for number in np.unique(numbers):
            for version, latents in enumerate(self.shards[number].versions):
                here = np.flatnonzero((numbers == number) & (mirrored == version))
                stored[here, 0] = latents[rows[here] - self.starts[number]].to(stored.dtype)
        return stored


class _Shard:
    """A file, mapped into memory."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with safe_open(file, "pt") as opened:
                keys = list(opened.keys())
                missing = {"latents", "labels"} - set(keys)
                tensors = {key: opened.get_tensor(key) for key in keys if key in ("latents", "latents_flip", "labels")}
        except Exception as error:  # A damaged file may fail in any way.
            raise DataError(f"{file}: cannot be read as a safetensors file ({error})") from None
        if missing:
            raise DataError(f"{file}: holds no {' and no '.join(sorted(missing))}; it has {sorted(keys)}")
        latents, labels = tensors["latents"], tensors["labels"]
        self.versions = [tensors[key] for key in ("latents", "latents_flip") if key in tensors]
        if latents.ndim != 4 or not latents.is_floating_point() or not latents.numel():
            raise DataError(
                f"{file}: latents are {latents.dtype} {tuple(latents.shape)}; expected floats (n, channels, height, "
                "width)"
            )
        if any(version.shape != latents.shape for version in self.versions):
            raise DataError(f"{file}: latents are {tuple(latents.shape)}, latents_flip {tuple(self.versions[1].shape)}")
        if labels.shape != latents.shape[:1] or labels.is_floating_point():
            raise DataError(f"{file}: labels are {labels.dtype} {tuple(labels.shape)} for {len(latents)} latents")
        self.labels = labels.numpy().astype(np.int64)
        self.latent = tuple(latents.shape[1:])

    def name(self, row: int) -> str:
        """The file and a place in it."""
        return f"{self.file}: row {row}"


def _scaling(path: Path, facts: Facts) -> Scaling:
    """The scaling by the statistics, where they are there."""
    if not path.is_file():
        if facts.scaling is None:
            raise DataError(
                f"{path}: no such file, so that it is not known how the latents are scaled; bring it here, or give "
                "the scaling factor by which they are multiplied"
            )
        return facts.scaling
    try:
        stats = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = (stats[key].double().flatten().tolist() for key in ("mean", "std"))
    except Exception as error:  # A damaged pickle may fail in any way.
        raise DataError(
            f"{path}: cannot be read as a file with the tensors mean and std ({type(error).__name__})"
        ) from None
    if len(mean) != len(std) or not np.isfinite(mean).all() or not (np.isfinite(std).all() and min(std, default=0) > 0):
        raise DataError(f"{path}: mean and std must be finite, of one length, and std positive")
    return Scaling(tuple(mean), tuple((facts.factor or 1.0) / value for value in std))
