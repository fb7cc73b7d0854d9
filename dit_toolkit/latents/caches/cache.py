"""What the caches of other programs share: one split of latents, read where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from attrs import frozen

from dit_toolkit.components import Shape
from dit_toolkit.errors import DataError
from dit_toolkit.latents.drawn import DrawnLatents
from dit_toolkit.latents.scaling import PLAIN, Scaling

FACTOR = 0.18215
"""Of Stable Diffusion's autoencoder, by which DiT multiplies its latents."""


@frozen(kw_only=True)
class Facts:
    """What is known of a cache beside its files."""

    num_classes: int | None = None
    classes: dict[str, str] | None = None
    """Names of classes by their folders, whose order is that of the labels."""
    factor: float | None = None
    """By which a model's latents are multiplied; that of the format unless given."""
    codec: Scaling | None = None
    """What the autoencoder that made them does, where it is there."""
    flipped: Path | None = None
    """Where the latents of the mirrored images are."""
    augmented: bool = False

    @property
    def scaling(self) -> Scaling | None:
        """From raw latents to what a model sees, where it is known."""
        return self.codec if self.factor is None else Scaling(scale=(self.factor,))

    @property
    def names(self) -> list[str]:
        """Names of the classes in the order of the labels; the numbers of ImageNet's where nothing is known."""
        if self.classes:
            return [self.classes[folder] for folder in sorted(self.classes)]
        return [str(number) for number in range(1000 if self.num_classes is None else self.num_classes)]


class Cache(DrawnLatents):
    """One split of latents in a format.

    Raises:
        DataError: files are missing or damaged, do not fit each other or the facts; the message names one.
    """

    scaled: ClassVar[bool] = False
    """Whether the files have been scaled already."""
    latent: Shape
    class_names: list[str]

    def __init__(
        self,
        folder: Path,
        labels: np.ndarray,
        latent: Sequence[int],
        class_names: list[str],
        scaling: Scaling,
        *,
        moments: bool,
        flip: bool,
        augmented: bool,
    ) -> None:
        channels, height, width = latent
        self.folder, self.latent, self.class_names = folder, (channels, height, width), class_names
        for name in ("shift", "scale"):
            if len(getattr(scaling, name)) not in (1, channels):
                raise DataError(
                    f"{folder}: its latents have {channels} channels, but there are {len(getattr(scaling, name))} "
                    f"numbers of the {name} that is applied to them"
                )
        super().__init__(
            labels,
            np.arange(len(labels)),
            moments=moments,
            flip=flip,
            augmented=augmented,
            scaling=PLAIN if self.scaled else scaling,
        )
        self.made_with = scaling

    def name(self, row: int) -> str:
        """Name a row in errors."""
        return f"{self.folder}: image {row}"


def refuse_label(labels: np.ndarray, num_classes: int, name: Callable[[int], str]) -> None:
    """Raise DataError for the first label that is none of the classes."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise DataError(
            f"{name(int(wrong[0]))}: its label is {labels[wrong[0]]}, but there are classes 0 to {num_classes - 1}"
        )


def whole_number(array: np.ndarray, path: str | Path) -> int:
    """Read a label from an array that holds one whole number."""
    if array.size != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{path}: its label is {array.dtype} {array.shape}; expected one whole number")
    return int(array.reshape(()))


def numbers(array: np.ndarray, shape: Sequence[int] | None, path: str | Path) -> np.ndarray:
    """Latents as float32 (C, h, w) of one file; `shape` is that of the first."""
    if array.dtype.kind != "f" or array.ndim != 3 or 0 in array.shape:
        raise DataError(
            f"{path}: its latents are {array.dtype} {array.shape}; expected floats (channels, height, width)"
        )
    if shape is not None and array.shape != tuple(shape):
        raise DataError(f"{path}: its latents are {array.shape}, those of the first file {tuple(shape)}")
    return array.astype(np.float32)
