"""Latents made beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, le, min_len

from dit_toolkit.components import Dataset, Shape, Split
from dit_toolkit.datasets.size import image_size_field, sides
from dit_toolkit.errors import DataError, MissingDataError

MANIFEST = "manifest.json"


@frozen(kw_only=True)
class Latents(Dataset):
    """A latent store: what a frozen autoencoder made of labelled RGB images, written by `dit-toolkit encode`."""

    kind = "latents"
    latents = True
    path: str = field(validator=min_len(1))
    """The folder of the store."""
    image_size: int | tuple[int, int] = image_size_field(256)
    """Pixels of a side of the images, or [height, width]; held against the store when it is opened."""
    num_classes: int = field(default=1000, validator=[ge(1), le(10_000_000)])

    @property
    def shape(self) -> Shape:
        """(3, height, width)."""
        return 3, *sides(self.image_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The numbers of the classes."""
        return tuple(map(str, range(self.num_classes)))

    def check(self) -> None:
        """Refuse a folder without a store, with the commands that make it for ImageNet."""
        if not (Path(self.path) / MANIFEST).is_file():
            raise MissingDataError(
                f"dataset.path: there are no latents in {self.path}. For ImageNet, two commands make them:",
                "dit-toolkit prepare imagenet --archives DIR --out data/imagenet",
                f"dit-toolkit encode RECIPE --images data/imagenet --out {self.path}",
            )

    def open(self, split: Literal["train", "val"]) -> Split:  # noqa: ARG002
        """Refuse: there are no images."""
        raise DataError(f"dataset.path: {self.path} holds latents, no images")

    def open_latents(self, split: Literal["train", "val"], shape: Shape) -> Split:
        """Open a split of the store."""
        self.check()
        raise NotImplementedError(split, shape)
