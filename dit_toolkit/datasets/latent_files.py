"""Latents in files of other programs, trained from where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, gt, lt, optional

from dit_toolkit.components import Shape
from dit_toolkit.datasets.encoded import Encoded
from dit_toolkit.datasets.names import CLASSES, read_names
from dit_toolkit.datasets.split import held_out
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.latents.caches import Format

if TYPE_CHECKING:
    from dit_toolkit.latents.caches.cache import Cache


@frozen(kw_only=True)
class LatentFiles(Encoded):
    """Latents as another program keeps them; a store, made by `dit-toolkit import latents`, is read faster."""

    kind = "latent-files"
    format: Format
    """Whose files they are. An npz has `labels` (N,), and `latents` (N, C, h, w) or `moments` (N, 2C, h, w): mean and
    standard deviation."""
    scaling_factor: float | None = field(default=None, validator=optional(gt(0)))
    """By which a model's latents are multiplied, or have been ("fast-dit"); that of the format unless given."""
    flipped: str | None = None
    """The cache of the mirrored images ("cerebras")."""
    val_fraction: float = field(default=0.05, validator=[ge(0), lt(1)])
    """Share of every class that is held out where there is no val."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, from a classes.json in the folder; their numbers where there is none."""
        names = read_names(Path(self.path) / CLASSES)
        if len(names) == self.num_classes:
            return tuple(names[folder] for folder in sorted(names))
        return tuple(map(str, range(self.num_classes)))

    def check(self) -> None:
        """Refuse a place where nothing is."""
        if not Path(self.path).exists():
            raise MissingDataError(f"dataset.path: there is nothing at {self.path}")

    def open_latents(self, split: Literal["train", "val"], shape: Shape) -> Cache:
        """Find the files of a split, and read their labels.

        Raises:
            DataError: files are missing or damaged, or their latents are of another shape.
        """
        from dit_toolkit.latents.caches.cache import Facts
        from dit_toolkit.latents.caches.opening import open_cache, places

        self.check()
        facts = Facts(
            num_classes=self.num_classes,
            classes=read_names(Path(self.path) / CLASSES) or None,
            factor=self.scaling_factor,
            flipped=Path(self.flipped) if self.flipped else None,
        )
        divided = "val" not in places(Path(self.path), self.format)
        cache = open_cache(Path(self.path), self.format, "train" if divided else split, facts)
        if cache.latent != shape:
            raise DataError(f"dataset.path: {self.path} has latents of {cache.latent}; those of the recipe are {shape}")
        if divided:
            mask = held_out(cache.labels, self.val_fraction)
            cache.augmented = split == "train"
            cache.keep(np.flatnonzero(mask if split == "val" else ~mask))
        if not len(cache):
            raise DataError(f"dataset.path: the {split} split of {self.path} is empty")
        return cache
