"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): 10,000 real images that come with the package (MIT licence)."""

from __future__ import annotations

import functools
import gzip
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit.components import Dataset, Shape
from dit_toolkit.errors import DataError

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from torch import Tensor

    from dit_toolkit.random import Generator

FOLDER = files(__package__) / "fashion-mnist"
IMAGES = "t10k-images-idx3-ubyte.gz"
LABELS = "t10k-labels-idx1-ubyte.gz"
SHA256 = {
    IMAGES: "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    LABELS: "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
RAW_SIZE = 28
HELDOUT_PER_CLASS = 150


@frozen(kw_only=True)
class Fashion(Dataset):
    """Grey images of clothes in 10 classes: 8,500 to train on and 1,500 held out, the same share of every class."""

    kind = "fashion"
    image_size: int = 32
    """Pixels of a side: 28, or 32 with a black border of 2, which patches of 2, 4 and 8 divide."""
    flip: bool = False
    """Mirror every other training image, at random; shoes, which all point to the left, then point both ways."""
    split_seed: int = field(default=0, validator=ge(0))
    """Which images are held out. The classifier of the metrics was trained on the training images of seed 0."""

    def __attrs_post_init__(self) -> None:
        if self.image_size not in (28, 32):
            raise ValueError(f"image_size ({self.image_size}) must be 28 (as published) or 32 (padded)")

    @property
    def shape(self) -> Shape:
        """(1, image_size, image_size)."""
        return 1, self.image_size, self.image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """The ten names, in the order of the labels."""
        return CLASS_NAMES

    def open(self, split: Literal["train", "val"]) -> FashionSplit:
        """Read 8,500 (train) or 1,500 (val) images; DataError where the package's files are missing or damaged."""
        images, labels = decode()
        heldout = held_out(labels, self.split_seed)
        chosen = heldout if split == "val" else ~heldout
        border = (self.image_size - RAW_SIZE) // 2
        padded = np.pad(images[chosen], ((0, 0), (border, border), (border, border)))
        return FashionSplit(padded, labels[chosen], flip=self.flip and split == "train")


class FashionSplit:
    """Images uint8 (len, S, S), in the order of the file, and labels int64 (len,)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, flip: bool) -> None:
        self.images = images
        self.labels = labels
        self.flip = flip

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Gather x (N, 1, S, S) float32 in [-1, 1] and y (N,) int64; mirrored at random where a generator is given."""
        import torch

        x = torch.from_numpy(self.images[indices])[:, None].float().div_(127.5).sub_(1)  # (N, 1, S, S)
        if self.flip and generator is not None:
            mirrored = (generator.rand() < 0.5).to(x.device)[:, None, None, None]
            x = torch.where(mirrored, x.flip(-1), x)
        return x, torch.from_numpy(self.labels[indices])


def held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """Mask (len,) of the held-out images: of every class the 150 with the smallest random keys.

    The keys are raw Philox words, which numpy promises not to change; its shuffles carry no such promise.
    """
    keys = np.random.Philox(seed).random_raw(len(labels))
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mask[members[np.argsort(keys[members], kind="stable")[:HELDOUT_PER_CLASS]]] = True
    return mask


@functools.cache
def decode() -> tuple[np.ndarray, np.ndarray]:
    """Read all images uint8 (10000, 28, 28) and labels int64 (10000,), once per process; both are read-only."""
    images = np.frombuffer(read(FOLDER, IMAGES), np.uint8, offset=16).reshape(-1, RAW_SIZE, RAW_SIZE)
    labels = np.frombuffer(read(FOLDER, LABELS), np.uint8, offset=8).astype(np.int64)
    labels.flags.writeable = False
    return images, labels


def read(folder: Traversable, name: str) -> bytes:
    """Read and unpack one IDX file of `folder` after checking its SHA-256.

    Raises:
        DataError: the file is missing, or is not the published one.
    """
    try:
        packed = (folder / name).read_bytes()
    except OSError as error:
        raise DataError(f"{folder / name}: cannot be read ({error.strerror}); reinstall dit-toolkit") from error
    seen = hashlib.sha256(packed).hexdigest()
    if seen != SHA256[name]:
        raise DataError(f"{folder / name}: SHA-256 is {seen}, expected {SHA256[name]}; reinstall dit-toolkit")
    return gzip.decompress(packed)
