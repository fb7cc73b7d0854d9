"""Latents made beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import ge, le, min_len

from dit_toolkit.components import Dataset, Shape, Split
from dit_toolkit.datasets.size import image_size_field, sides
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.latents.manifest import NAME, Manifest, read_manifest

if TYPE_CHECKING:
    from dit_toolkit.latents.reader import LatentSplit


@frozen(kw_only=True)
class Latents(Dataset):
    """A latent store: what a frozen autoencoder made of labelled images, written by `dit-toolkit encode`."""

    kind = "latents"
    latents = True
    path: str = field(validator=min_len(1))
    """The folder of the store."""
    image_size: int | tuple[int, int] = image_size_field(256)
    """Pixels of a side of the images, or [height, width]; held against the store when it is opened."""
    channels: Literal[1, 3] = 3
    """Of the images."""
    num_classes: int = field(default=1000, validator=[ge(1), le(10_000_000)])

    @property
    def shape(self) -> Shape:
        """(channels, height, width) of the images."""
        return self.channels, *sides(self.image_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; their numbers where the store is not there or has others."""
        if self._there:
            names = self._manifest().class_names
            if len(names) == self.num_classes:
                return tuple(names)
        return tuple(map(str, range(self.num_classes)))

    @property
    def encoded_by(self) -> str | None:
        """Fingerprint of the autoencoder that made the latents."""
        self.check()
        return self._manifest().fingerprint

    def check(self) -> None:
        """Refuse a folder without a store, with the commands that make it for ImageNet."""
        if not self._there:
            raise MissingDataError(
                f"dataset.path: there are no latents in {self.path}. For ImageNet, two commands make them:",
                "dit-toolkit prepare imagenet --archives DIR --out data/imagenet",
                f"dit-toolkit encode RECIPE --images data/imagenet --out {self.path}",
            )

    def open(self, split: Literal["train", "val"]) -> Split:  # noqa: ARG002
        """Refuse: there are no images."""
        raise DataError(f"dataset.path: {self.path} holds latents, no images")

    def open_latents(self, split: Literal["train", "val"], shape: Shape) -> LatentSplit:
        """Map a split of the store into memory.

        Raises:
            DataError: it is damaged, or made for another recipe; the message names every difference.
        """
        from dit_toolkit.latents.reader import LatentSplit

        self.check()
        manifest = self._manifest()
        facts = [
            ("image_size", list(manifest.image[1:]), list(self.shape[1:])),
            ("channels", manifest.image[0], self.channels),
            ("num_classes", len(manifest.class_names), self.num_classes),
            ("shape of a latent", list(manifest.latent), list(shape)),
        ]
        lines = [f"  {name}: {there} there, {here} in the recipe" for name, there, here in facts if there != here]
        if lines:
            raise DataError(f"dataset.path: {self.path} was made for another recipe. What differs:", *lines)
        return LatentSplit(Path(self.path), manifest, split)

    @property
    def _there(self) -> bool:
        return (Path(self.path) / NAME).is_file()

    def _manifest(self) -> Manifest:
        return read_manifest(Path(self.path) / NAME)
