"""Pictures of what models draw: classes, models and settings side by side, in one batch of noise."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from attrs import frozen
from PIL import Image
from torch import Tensor

from dit_toolkit.drawing.film import Film, joined
from dit_toolkit.errors import RecipeError
from dit_toolkit.grids.sheet import Head, Layout, Sheet, by_class
from dit_toolkit.images import to_uint8
from dit_toolkit.progress import Progress, progress, share
from dit_toolkit.sampling import Trained, labels_of


@frozen(kw_only=True)
class Part:
    """Images of one model."""

    trained: Trained
    labels: np.ndarray
    """(N,) classes."""
    index: np.ndarray
    """(N,) sample numbers, which with the seed determine the noise."""
    guide: Trained | None = None
    """In place of the one that the recipe's [sample] names."""


@frozen
class Frames(Sequence[Image.Image]):
    """Pictures, each made when it is asked for."""

    sheet: Sheet
    images: np.ndarray
    """(F, N, H, W, 3) uint8."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Image.Image:  # type: ignore[override]
        return self.sheet.draw(self.images[number])


@frozen(kw_only=True)
class Plan:
    """Images to draw, and where they go; the layout counts them through all parts."""

    parts: Sequence[Part]
    layout: Layout
    image_size: int | None = None

    def still(self) -> Image.Image:
        """Draw the picture."""
        [images] = self._draw(1)
        return self._sheet(images).draw(images)

    def frames(self, limit: int) -> Frames:
        """Draw what is predicted at fewer than `limit` evaluations of the denoiser, evenly spread, with the first one.

        The last frame is the picture of `still`.
        """
        frames = self._draw(limit)
        return Frames(self._sheet(frames[0]), frames)

    def _sheet(self, images: np.ndarray) -> Sheet:
        return Sheet(self.layout, images.shape[1:3], self.image_size)

    def _draw(self, limit: int) -> np.ndarray:
        """At most `limit` frames uint8 (F, N, H, W, 3)."""
        films = []
        with progress("draw", sum(len(part.labels) for part in self.parts)) as bar:
            for part in self.parts:
                size = part.trained.recipe.sample.batch_size
                for first in range(0, len(part.labels), size):
                    films.append(_draw_batch(part, slice(first, first + size), limit, bar))
        return joined(films)


def _draw_batch(part: Part, batch: slice, limit: int, bar: Progress) -> np.ndarray:
    """At most `limit` frames of some images, uint8 (F, N, H, W, 3)."""
    labels, film = part.labels[batch], Film(part.trained.decode, limit)

    def seen(i: int, n: int | None, x0: Tensor) -> None:
        shown(i, n, x0)
        if limit > 1:
            film(i, n, x0)

    with share(bar, len(labels)) as shown:
        drawn = part.trained.sample(labels, index=part.index[batch], guide=part.guide, callback=seen)
    return film.take(to_uint8(drawn.cpu()))


def of_classes(
    sides: Sequence[tuple[str, Trained]],
    classes: Sequence[int],
    *,
    nrow: int = 10,
    per_class: int | None = None,
    image_size: int | None = None,
) -> Plan:
    """A row per class of one model, or of several beside each other, each of which gets the same noise.

    The images of a class are those that `sample` draws of the same classes in turn.

    Args:
        sides: models with their names, which are shown where there are several.
        classes: to draw.
        nrow: images in a row, of all sides together; each side has at least one.
        per_class: images of a class from each side; as many as fit in a row unless given.

    Raises:
        RecipeError: models of other images or classes.
    """
    refuse_unlike(sides)
    classes = list(dict.fromkeys(classes))
    across = max(1, nrow // len(sides))
    count = len(classes) * (per_class or across)
    parts = []
    for _, trained in sides:
        chosen = attrs.evolve(trained.recipe.sample, labels=classes, num_samples=count, label_sampling="balanced")
        asked = trained.with_sample(chosen)
        asked.check()
        parts.append(Part(trained=asked, labels=labels_of(asked.recipe), index=np.arange(count)))
    one = by_class(parts[0].labels, sides[0][1].class_names, across, per_class)
    places = np.hstack([np.where(one.places < 0, -1, one.places + side * count) for side in range(len(sides))])
    heads = [Head(name, one.places.shape[1]) for name, _ in sides] if len(sides) > 1 else []
    return Plan(parts=parts, layout=Layout(places=places, names=one.names, heads=heads), image_size=image_size)


def refuse_unlike(sides: Sequence[tuple[str, Trained]]) -> None:
    """Raise RecipeError for models whose images or classes are not those of the first one."""
    (first, trained), *others = sides
    faults = []
    for name, other in others:
        here, there = (each.recipe.dataset.shape for each in (trained, other))
        if here != there:
            faults.append(f"{name}: its images are {there} (channels, height, width), those of {first} {here}")
        if other.recipe.model.num_classes != trained.recipe.model.num_classes:
            faults.append(
                f"{name}: it has {other.recipe.model.num_classes} classes, {first} {trained.recipe.model.num_classes}"
            )
    if faults:
        raise RecipeError(*faults)
