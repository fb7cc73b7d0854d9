"""The images behind a latent store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from dit_toolkit.components import Dataset, Split
from dit_toolkit.errors import DataError, RecipeError
from dit_toolkit.recipe.structure import structure

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.latents.manifest import Manifest
    from dit_toolkit.random import Generator


def open_images(manifest: Manifest, split: Literal["train", "val"]) -> Split:
    """Open the images of a split, in the order of its latents.

    Raises:
        DataError: the store has no such split, or the images that it was made of are not here or others.
    """
    if split not in manifest.splits:
        raise DataError(f"its store has no split {split!r}; it has {', '.join(manifest.splits)}")
    entry = manifest.splits[split]
    try:
        images = structure(manifest.source, Dataset).open(split)  # type: ignore[type-abstract]
    except RecipeError as error:
        raise DataError(f"the images of its latents are not known: {'; '.join(error.lines)}") from None
    if len(images) != entry.rows:
        raise DataError(f"the {split} split of its images has {len(images)} now, not {entry.rows} as when encoded")
    skipped = [skipped.row for skipped in entry.skipped]
    return Kept(images, np.setdiff1d(np.arange(entry.rows), skipped)) if skipped else images


class Kept:
    """Some rows (n,) of a split."""

    def __init__(self, split: Split, rows: np.ndarray) -> None:
        self.split, self.rows, self.labels = split, rows, split.labels[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: np.ndarray, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Gather x (N, C, H, W) and y (N,)."""
        return self.split.batch(self.rows[indices], generator)
