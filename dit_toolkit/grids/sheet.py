"""A sheet of images: rows with their names at the left, columns with heads above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from attrs import frozen
from PIL import Image, ImageDraw

from dit_toolkit.errors import DataError
from dit_toolkit.grids.text import INK, font_for, width, wrap

CELL = 96
"""Largest side of a small image, in pixels, after upscaling by a whole factor."""
MARGIN = 12
APART = 12
"""Pixels between the columns of one head and those of the next, where a head has several."""
NAME = 200
"""Most pixels of a row's name; what is longer is wrapped where there is room, or cut."""
LINE = 19
"""Pixels from line to line of a text."""
HEAD, HEAD_LINES = 20, 4
"""Height of a head's font as that of a row's name, and its most lines."""
ROWS = 40
"""More rows than these are folded into several blocks beside each other, so that the sheet is about square."""
PIXELS = 24_000_000
"""Pixels of a sheet at which its images start to shrink."""
SIDE = 30_000
"""Most pixels of a side; viewers of PNG give up not far above."""


class Head(NamedTuple):
    """A text above some columns."""

    text: str
    columns: int


@frozen(kw_only=True)
class Layout:
    """Which image is where.

    Args:
        places: (rows, columns), numbers of images; -1 leaves a place empty.
        names: of the rows.
        heads: from left to right, each over its columns; none, or as many columns as there are.
    """

    places: np.ndarray
    names: Sequence[str]
    heads: Sequence[Head] = ()


def by_class(labels: np.ndarray, class_names: Sequence[str], nrow: int, per_class: int | None = None) -> Layout:
    """One row per class that is present, or more where `per_class` images do not fit into one of `nrow`.

    Args:
        labels: (N,), indices into `class_names`.
        class_names: names of all classes.
        nrow: images in a row.
        per_class: most images of a class; as many as fit in a row unless given.
    """
    rows, names = [], []
    for label in np.unique(labels):
        found = np.flatnonzero(labels == label)[: per_class or nrow]
        for first in range(0, len(found), nrow):
            rows.append(found[first : first + nrow])
            names.append("" if first else class_names[label])
    places = np.full((len(rows), max(map(len, rows))), -1)
    for row, found in zip(places, rows, strict=True):
        row[: len(found)] = found
    return Layout(places=places, names=names)


def grid(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    nrow: int = 10,
    *,
    per_class: int | None = None,
    image_size: int | None = None,
) -> Image.Image:
    """Draw images uint8 (N, H, W, 3) as `by_class` places them and `Sheet` draws them."""
    layout = by_class(np.asarray(labels), class_names, nrow, per_class)
    return Sheet(layout, images.shape[1:3], image_size).draw(images)


class Sheet:
    """A layout for images of one size, whose texts are drawn once.

    Small images are upscaled by a whole factor. With very many, rows are folded into blocks beside each other and
    images shrink, so that the picture can be opened.

    Args:
        size: (height, width) of the images.
        image_size: pixels of an image's larger side in the sheet; what fits unless given.

    Raises:
        DataError: `image_size` makes a picture that no viewer opens.
    """

    def __init__(self, layout: Layout, size: tuple[int, ...], image_size: int | None = None) -> None:
        self.layout, self.size = layout, size
        longest = image_size or max(size) * max(1, CELL // max(size))
        self._measure(longest)
        while not image_size and longest > 8 and self.width * self.height > PIXELS:
            longest = max(8, int(longest * min(0.95, math.sqrt(PIXELS / (self.width * self.height)))))
            self._measure(longest)
        if max(self.width, self.height) > SIDE:
            raise DataError(
                f"the picture would have {self.width} x {self.height} pixels, and few programs open more than {SIDE} "
                "a side; show fewer images, or smaller ones"
            )
        self.blank = self._write()

    def _measure(self, longest: int) -> None:
        """Find out the sizes of everything where images have `longest` pixels at the larger side."""
        rows, _ = self.layout.places.shape
        height, width_ = (max(1, round(side * longest / max(self.size))) for side in self.size)
        self.cell = (height, width_)
        self.gap = 1 if height < CELL // 2 else 2
        self.font = font_for(height)
        self.names = [wrap(name, self.font, NAME, max(1, height // LINE)) for name in self.layout.names]
        self.name = max(width(line, self.font) for lines in self.names for line in lines or [""])
        self.left: list[int] = []
        start = MARGIN + (self.name + MARGIN if self.name else 0)
        groups = [head.columns for head in self.layout.heads] or [self.layout.places.shape[1]]
        apart = APART if max(groups) > 1 else self.gap
        for columns in groups:
            self.left += range(start, start + columns * (width_ + self.gap), width_ + self.gap)
            start = self.left[-1] + width_ + apart
        block = self.left[-1] + width_ + MARGIN
        self.top = MARGIN + self._measure_heads()
        step = height + self.gap
        blocks = 1 if rows <= ROWS else min(rows, max(1, round(math.sqrt(rows * step / block))))
        self.rows = -(-rows // blocks)
        self.block = block
        self.width, self.height = -(-rows // self.rows) * block, self.top + self.rows * step - self.gap + MARGIN

    def _measure_heads(self) -> int:
        """Wrap the heads; the pixels that they take."""
        self.head_font = font_for(HEAD)
        self.heads = []
        for head in self.layout.heads:
            room = head.columns * (self.cell[1] + self.gap) - 8
            self.heads.append(wrap(head.text, self.head_font, room, HEAD_LINES))
        lines = max(map(len, self.heads), default=0)
        return lines * LINE + 6 if lines else 0

    def _write(self) -> Image.Image:
        """Draw the texts."""
        picture = Image.new("RGB", (self.width, self.height), "white")
        draw = ImageDraw.Draw(picture)
        for row, lines in enumerate(self.names):
            left, top = self.corner(row, 0)
            for number, line in enumerate(lines):
                middle = top + self.cell[0] / 2 + (number - (len(lines) - 1) / 2) * LINE
                draw.text((left - MARGIN, middle), line, fill=INK, font=self.font, anchor="rm")
        for block in range(0, self.width, self.block):
            column = 0
            for head, lines in zip(self.layout.heads, self.heads, strict=True):
                left, last = self.left[column], self.left[column + head.columns - 1]
                middle = block + (left + last + self.cell[1]) / 2
                for number, line in enumerate(reversed(lines)):
                    foot = self.top - 6 - number * LINE
                    draw.text((middle, foot), line, fill=INK, font=self.head_font, anchor="ms")
                column += head.columns
        return picture

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Left and upper edge of a place, in pixels."""
        block, within = divmod(row, self.rows)
        return block * self.block + self.left[column], self.top + within * (self.cell[0] + self.gap)

    def draw(self, images: np.ndarray) -> Image.Image:
        """Put images uint8 (N, H, W, 3) in their places."""
        picture = self.blank.copy()
        whole = all(new % old == 0 for new, old in zip(self.cell, self.size, strict=True))
        resample = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
        for (row, column), index in np.ndenumerate(self.layout.places):
            if index >= 0:
                tile = Image.fromarray(np.ascontiguousarray(images[index])).resize(self.cell[::-1], resample)
                picture.paste(tile, self.corner(row, column))
        return picture


def spread(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the values (N,), evenly spread, with the first."""
    count = min(count, len(values))
    return values[np.arange(count) * len(values) // max(1, count)]
