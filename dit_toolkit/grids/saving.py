"""Pictures in files: PNG, and moving ones as GIF or APNG, which play through, hold the last frame and begin again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from attrs import frozen
from PIL import Image

from dit_toolkit.files import aside

LENGTH, HOLD = 3_000, 2_000
"""Milliseconds of all frames but the last, and of the last."""
FASTEST, SLOWEST = 40, 250
"""Milliseconds of one frame; programs slow a faster GIF down."""


def save_still(path: Path, picture: Image.Image) -> None:
    """Write a PNG file, whole or not at all."""
    with aside(path) as file:
        picture.save(file, format="PNG")


def save_animation(path: Path, frames: Sequence[Image.Image]) -> None:
    """Write RGB frames, of which one at a time is asked for, as a new GIF or, where the name ends in .png, APNG file.

    An APNG keeps every pixel. A GIF has 256 colours a frame: shades of grey stay as they are, colours are dithered.
    """
    each = min(SLOWEST, max(FASTEST, LENGTH // max(1, len(frames) - 1))) // 10 * 10
    gif = path.suffix.lower() == ".gif"
    with aside(path) as file:
        (_indexed(frames[0]) if gif else frames[0]).save(
            file,
            format="GIF" if gif else "PNG",
            save_all=True,
            append_images=_Rest(frames, gif),
            duration=[each] * (len(frames) - 1) + [HOLD],
            loop=0,
        )


def _indexed(frame: Image.Image) -> Image.Image:
    """The frame in at most 256 colours."""
    pixels = np.asarray(frame)
    if (pixels == pixels[..., :1]).all():
        return frame.convert("L")
    colours = frame.quantize(256, Image.Quantize.MEDIANCUT)
    return frame.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG)


@frozen
class _Rest:
    """All frames but the first, made as they are asked for, which Pillow does twice for an APNG."""

    frames: Sequence[Image.Image]
    gif: bool

    def __iter__(self) -> Iterator[Image.Image]:
        for number in range(1, len(self.frames)):
            yield _indexed(self.frames[number]) if self.gif else self.frames[number]
