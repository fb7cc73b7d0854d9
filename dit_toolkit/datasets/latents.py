"""Latents made beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from dit_toolkit.components import Shape, Split
from dit_toolkit.datasets.encoded import Encoded
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.latents.manifest import NAME, Manifest, Memory, read_manifest
from dit_toolkit.latents.source import open_images

if TYPE_CHECKING:
    from dit_toolkit.latents.reader import LatentSplit


IMAGENET = 1000
"""Classes of ImageNet."""


@frozen(kw_only=True)
class Latents(Encoded):
    """A latent store: what a frozen autoencoder made of labelled images, written by `dit-toolkit encode`."""

    kind = "latents"
    memory: Memory = "mapped"
    """Read them from the file as they are needed, or hold them whole: in the RAM of each process ("ram"), or on the
    device that trains ("device")."""

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
        """Refuse a folder without a store, with the commands that make it."""
        if self._there:
            return
        missing = f"dataset.path: there are no latents in {self.path}"
        if self.num_classes == IMAGENET:
            raise MissingDataError(
                f"{missing}. For ImageNet, two commands make them:",
                "dit-toolkit prepare imagenet --archives DIR --out data/imagenet",
                f"dit-toolkit encode RECIPE --images data/imagenet --out {self.path}",
            )
        raise MissingDataError(
            f"{missing}. One of these makes them, of images in a folder for each class or of a dataset:",
            f"dit-toolkit encode RECIPE --images DIR --out {self.path}",
            f"dit-toolkit encode RECIPE --set dataset.kind=KIND --out {self.path}",
        )

    def open(self, split: Literal["train", "val"]) -> Split:
        """Read the images that the latents were made of; DataError where they are not to be had."""
        self.check()
        try:
            return open_images(self._manifest(), split)
        except DataError as error:
            raise DataError(f"dataset.path: {self.path} holds latents, no images: {error}") from None

    def open_latents(self, split: Literal["train", "val"], shape: Shape) -> LatentSplit:
        """Map a split of the store into memory, or read it whole.

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
        return LatentSplit(Path(self.path), manifest, split, self.memory)

    @property
    def _there(self) -> bool:
        return (Path(self.path) / NAME).is_file()

    def _manifest(self) -> Manifest:
        return read_manifest(Path(self.path) / NAME)
