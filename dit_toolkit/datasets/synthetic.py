"""Random numbers in the place of data: what a model costs can be tried without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.components import Dataset, Shape
from dit_toolkit.datasets.size import image_size_field, sides

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Synthetic(Dataset):
    """Standard normal latents, or uniform images, of any size, with labels in turn; there is nothing to learn."""

    kind = "synthetic"
    latents: bool = True
    """Latents, for which no autoencoder is needed, or images."""
    image_size: int | tuple[int, int] = image_size_field(256)
    """Pixels of a side, or [height, width]; of the images whose latents these would be."""
    channels: Literal[1, 3] = 3
    num_classes: int = field(default=1000, validator=[ge(1), le(10_000_000)])
    num_images: int = field(default=50_000, validator=[ge(1), le(2**31)])
    """Length of each split; each item is made when it is read."""

    @property
    def shape(self) -> Shape:
        """(channels, height, width) of the images."""
        return self.channels, *sides(self.image_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The numbers of the classes."""
        return tuple(map(str, range(self.num_classes)))

    def open(self, split: Literal["train", "val"]) -> SyntheticSplit:
        """Make uniform images in [-1, 1]."""
        return SyntheticSplit(self.shape, self.num_images, self.num_classes, stream=f"images {split}")

    def open_latents(self, split: Literal["train", "val"], shape: Shape) -> SyntheticSplit:
        """Make standard normal latents."""
        return SyntheticSplit(shape, self.num_images, self.num_classes, stream=f"latents {split}")


class SyntheticSplit:
    """Items that are a function of their index."""

    def __init__(self, shape: Shape, length: int, num_classes: int, *, stream: str) -> None:
        self.shape, self.stream = shape, stream
        self.labels = np.arange(length, dtype=np.int64) % num_classes

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray, generator: Generator | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Make x (N, C, H, W) float32 and y (N,) int64."""
        import torch

        from dit_toolkit.random import Generator

        x = Generator(0, self.stream, indices).randn(*self.shape)  # (N, C, H, W)
        if self.stream.startswith("images"):
            x = torch.erf(x / 2**0.5)  # Uniform in [-1, 1].
        return x, torch.from_numpy(self.labels[indices])
