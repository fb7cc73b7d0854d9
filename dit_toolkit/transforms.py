"""From an image file to pixels of a fixed size: careful decoding, and the crops of ADM."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from dit_toolkit.errors import DataError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"))
"""Files of other names are no images."""
LARGEST = 2**27
"""Most pixels of a file, and of an image resized before it is cropped; larger ones are decompression bombs."""
SMALLEST_CROP = 0.8
"""Least share of the shorter side that a random crop keeps (guided-diffusion, `random_crop_arr`)."""
READ_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError, KeyError, TypeError, OverflowError,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What PIL raises for files that are damaged in one way or another."""


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - for a million names


def read_image(path: Path | str) -> Image.Image:
    """Read an image file as RGB: CMYK, palettes and 16-bit grey are converted, transparency is put on white.

    The orientation that a camera noted is left alone, as ADM and torchvision do.

    Raises:
        DataError: the file is missing, empty, damaged, animated or larger than 2**27 pixels; the message names it.
    """
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > LARGEST:
                raise DataError(f"{path}: {picture.width} x {picture.height} pixels are more than {LARGEST:,}")
            if getattr(picture, "is_animated", False) and picture.format != "MPO":
                raise DataError(f"{path}: an animation of {getattr(picture, 'n_frames', 0)} frames, not an image")
            picture.load()
            return _rgb(picture)
    except READ_ERRORS as error:
        with contextlib.suppress(OSError):
            if Path(path).stat().st_size == 0:
                raise DataError(f"{path}: the file is empty") from None
        raise DataError(f"{path}: not a readable image ({' '.join(str(error).split())[:200]})") from None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        deep = np.asarray(picture)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ValueError("grey values beyond 16 bits")
        return Image.fromarray((deep // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def centre_crop(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Crop the middle of an image, resized to just cover (height, width).

    As ADM does (Dhariwal & Nichol 2021; guided-diffusion, `center_crop_arr`): halved with a box filter while it is
    twice as large, then resized with a bicubic one.

    Raises:
        ValueError: the image is so narrow that it would have more than 2**27 pixels before it is cropped.
    """
    picture = _cover(picture, height, width)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def random_crop(
    picture: Image.Image, height: int, width: int, draws: tuple[float, float, float] = (0.0, 0.5, 0.5)
) -> Image.Image:
    """Crop (height, width) somewhere out of an image that was resized to cover between 1 and 1 / 0.8 times as much.

    Args:
        picture: the image.
        height: pixels.
        width: pixels.
        draws: uniform in [0, 1): the size, and the place from top and left.

    Raises:
        ValueError: as `centre_crop`.
    """
    share = 1 - draws[0] * (1 - SMALLEST_CROP)
    picture = _cover(picture, round(height / share), round(width / share))
    top, left = int(draws[1] * (picture.height - height + 1)), int(draws[2] * (picture.width - width + 1))
    return picture.crop((left, top, left + width, top + height))


def to_array(picture: Image.Image, channels: int) -> np.ndarray:
    """Turn an RGB image into uint8 (channels, H, W), grey for one channel."""
    pixels = np.asarray(picture.convert("L") if channels == 1 else picture)  # (H, W) or (H, W, 3)
    planes: np.ndarray = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)  # (channels, H, W)
    return planes


def _cover(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Resize so that the image covers (height, width), touching it on one axis at least."""
    while picture.width >= 2 * width and picture.height >= 2 * height:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = max(height / picture.height, width / picture.width)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    if size[0] * size[1] > LARGEST:
        raise ValueError(f"{picture.width} x {picture.height} pixels are too narrow for a crop of {width} x {height}")
    return picture.resize(size, Image.Resampling.BICUBIC)
