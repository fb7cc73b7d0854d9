"""Real images: what samples are compared with, what stands in their place for a floor, and noise for a ceiling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from dit_toolkit.components import Dataset, Metric, RealImages, Split
from dit_toolkit.errors import DataError
from dit_toolkit.images import to_uint8
from dit_toolkit.imageset import ImageSet
from dit_toolkit.progress import warn
from dit_toolkit.references import Reference, read_reference

if TYPE_CHECKING:
    from dit_toolkit.recipe.schema import Recipe

NOISE = 1_000
"""Most images of noise behind a ceiling."""


def real_of(recipe: Recipe, device: str = "cpu") -> tuple[RealImages, Reference | None]:
    """What samples of a recipe are compared with, and the file that it names for that; raises as `real_images`."""
    path = recipe.evaluate.reference
    reference = read_reference(Path(path), device) if path else None
    return real_images(recipe.dataset, device, reference), reference


def real_images(dataset: Dataset, device: str = "cpu", reference: Reference | None = None) -> RealImages:
    """Both splits of a dataset; the held-out one is the reference, unless there is a file.

    Raises:
        DataError: there are no images, as where only latents are; beside a reference file that is a warning.
    """
    sets: list[ImageSet | None] = []
    for name in ("val", "train"):
        try:
            split = dataset.open(name)
        except DataError as error:
            if reference is None:
                raise
            warn(f"no {name} images beside the reference: {error.lines[0]}")
            sets.append(None)
            continue
        pixels = _Read(split, (len(split), *dataset.shape[1:], 3))
        sets.append(ImageSet(pixels, split.labels, device=device, name=f"{name} images"))
    heldout, train = sets
    found = reference.images if reference else heldout
    if found is None:
        raise DataError(f"dataset {dataset.kind!r} has no held-out images")
    return RealImages(found, train)


@frozen
class _Read:
    """Images of a split, uint8 (N, H, W, 3), not augmented, read when they are asked for."""

    split: Split
    shape: tuple[int, int, int, int]

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return to_uint8(self.split.batch(index)[0])


def perfect(metrics: Sequence[Metric], samples: ImageSet, real: RealImages) -> dict[str, float]:
    """The floor of each metric by name: its value for real images in the place of samples; nan where there are none."""
    floors, values = Floors(samples, real), {}
    for metric in metrics:
        images, against, _ = floors.of(metric)
        values[metric.name] = metric.compute(images, against) if images else math.nan
    return values


class Floors:
    """Real images in the place of samples: as many, and of the same classes. Each set is looked at once."""

    def __init__(self, samples: ImageSet, real: RealImages) -> None:
        self.samples, self.real = samples, real
        self.sets: dict[str, ImageSet] = {}

    def of(self, metric: Metric) -> tuple[ImageSet | None, RealImages, str]:
        """Images for a metric (None where there are none), what they are compared with, and where they are from."""
        reference, train = self.real
        if metric.floor == "reference":
            return self._set("reference", reference) if len(reference) else None, self.real, "reference"
        if train is not None:
            return self._set("train", train), self.real, "train"
        order = np.random.default_rng(0).permutation(len(reference))
        if len(order) < 2:
            return None, self.real, ""
        half, other = (reference.take(np.sort(part)) for part in np.array_split(order, 2))
        return half, RealImages(other), "halves"

    def _set(self, split: str, pool: ImageSet) -> ImageSet:
        if split not in self.sets:
            chosen = alike(self.samples, pool)
            self.sets[split] = pool.take(chosen) if pool is self.real.reference else pool.apart(chosen)
        return self.sets[split]


def evenly(images: ImageSet, count: int) -> np.ndarray:
    """Indices of so many of the images, as evenly of all classes as there are."""
    order = np.random.default_rng(0).permutation(len(images))
    labels = images.labels[order]
    turn = np.empty(len(order), np.int64)  # How many of its class come before each.
    for c in np.unique(labels):
        turn[labels == c] = np.arange(np.count_nonzero(labels == c))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def alike(samples: ImageSet, pool: ImageSet) -> np.ndarray:
    """Indices of as many images of a pool as there are samples, of every class; all of a class that has fewer."""
    order = np.random.default_rng(0).permutation(len(pool))
    if not (samples.labelled and pool.labelled):
        return order[: len(samples)]
    labels = pool.labels[order]
    return np.concatenate(
        [order[labels == c][:n] for c, n in zip(*np.unique(samples.labels, return_counts=True), strict=True)]
    )


def noise(samples: ImageSet, channels: int) -> ImageSet:
    """At most `NOISE` images of uniform noise, grey for one channel, with labels of the samples."""
    chosen = np.arange(len(samples))[:: -(-len(samples) // NOISE)]
    shape = (len(chosen), *samples.images.shape[1:])
    pixels = np.random.default_rng(0).integers(0, 256, (*shape[:3], channels), np.uint8)
    labels = samples.labels[chosen] if samples.labelled else None
    return ImageSet(np.broadcast_to(pixels, shape), labels, device=samples.device, name="noise")
