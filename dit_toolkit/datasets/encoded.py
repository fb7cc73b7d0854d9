"""What datasets of latents share: options, and that there are no images."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, le, min_len

from dit_toolkit.components import Dataset, Shape, Split
from dit_toolkit.datasets.size import image_size_field, sides
from dit_toolkit.errors import DataError


@frozen(kw_only=True)
class Encoded(Dataset):
    """Latents of images, made beforehand."""

    latents = True
    path: str = field(validator=min_len(1))
    """Where the latents are."""
    image_size: int | tuple[int, int] = image_size_field(256)
    """Pixels of a side of the images, or [height, width]; held against the latents when they are opened."""
    channels: Literal[1, 3] = 3
    """Of the images."""
    num_classes: int = field(default=1000, validator=[ge(1), le(10_000_000)])

    @property
    def shape(self) -> Shape:
        """(channels, height, width) of the images."""
        return self.channels, *sides(self.image_size)

    def open(self, split: Literal["train", "val"]) -> Split:  # noqa: ARG002
        """Refuse: there are no images."""
        raise DataError(f"dataset.path: {self.path} holds latents, no images")
