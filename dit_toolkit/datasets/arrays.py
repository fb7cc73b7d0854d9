"""Images and labels in one .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import min_len

from dit_toolkit.components import Shape
from dit_toolkit.datasets.pictures import Pictures, PictureSplit
from dit_toolkit.datasets.split import held_out
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.latents.numpy_files import read_npz

if TYPE_CHECKING:
    from PIL.Image import Image


@frozen(kw_only=True)
class Arrays(Pictures):
    """An .npz file with `images` uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3), and `labels`, whole numbers (N,)."""

    kind = "arrays"
    path: str = field(validator=min_len(1))
    """The .npz file."""

    def check(self) -> None:
        """Refuse a file that is not there."""
        if not Path(self.path).is_file():
            raise MissingDataError(f"dataset.path: there is no file {self.path}")

    def open(self, split: Literal["train", "val"]) -> ArraysSplit:
        """Read the file whole; DataError where it is damaged or its arrays do not fit each other."""
        self.check()
        images, labels = _read(self.path, self.num_classes)
        mask = held_out(labels, self.val_fraction)
        chosen = mask if split == "val" else ~mask
        if not chosen.any():
            raise DataError(f"dataset.path: the {split} split of {self.path} is empty")
        return ArraysSplit(images[chosen], labels[chosen], self.path, self.shape, flip=self.flip and split == "train")


class ArraysSplit(PictureSplit):
    """Images uint8 (len, H, W) or (len, H, W, 3) in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, path: str, shape: Shape, *, flip: bool) -> None:
        super().__init__(labels, shape, flip=flip)
        self.images, self.path = images, path

    def name(self, index: int) -> str:
        """The file, and the place in the split."""
        return f"{self.path}: image {index}"

    def picture(self, index: int) -> Image:
        """Make a picture of an array."""
        from PIL import Image

        return Image.fromarray(self.images[index]).convert("RGB")


def _read(path: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 (N, H, W) or (N, H, W, 3) and labels int64 (N,), without ever unpickling."""
    images, labels = read_npz(path, ("images", "labels"))
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise DataError(
            f"{path}: images are {images.dtype} {images.shape}; expected uint8 (N, H, W), with 1 or 3 channels"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or 0 in images.shape:
        raise DataError(f"{path}: labels are {labels.dtype} {labels.shape} for images {images.shape}")
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise DataError(
            f"{path}: labels go from {labels.min()} to {labels.max()}, but there are classes 0 to {num_classes - 1}"
        )
    return images, labels.astype(np.int64)
