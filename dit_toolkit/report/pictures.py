"""Grids of samples, small enough for a page that holds them all."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from dit_toolkit.errors import DataError

STEPS = 8
"""Most steps that a strip shows: the first, the last, and some between."""
WIDTH = 608
"""Of a picture in a strip, in pixels: twice what it is on the page."""
_NAME = re.compile(r"step-(\d+)-(ema|raw)\.png")


def strips(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Pictures drawn in training, by "ema" and "raw": the step, and a JPEG as base64 with its width and height."""
    found: dict[str, dict[int, Path]] = {"ema": {}, "raw": {}}
    for path in folder.glob("step-*.png"):
        if match := _NAME.fullmatch(path.name):
            found[match[2]][int(match[1])] = path
    return {
        weights: [{"step": step, **_small(paths[step])} for step in _spread(sorted(paths))]
        for weights, paths in found.items()
        if paths
    }


def whole(path: Path) -> str:
    """A picture as it is, in base64; DataError where it cannot be read."""
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _spread(steps: list[int]) -> Iterable[int]:
    count = min(STEPS, len(steps))
    return [steps[round(i * (len(steps) - 1) / max(1, count - 1))] for i in range(count)]


def _small(path: Path) -> dict[str, Any]:
    try:
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
            picture.thumbnail((WIDTH, 10 * WIDTH))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return {"jpeg": base64.b64encode(buffer.getvalue()).decode(), "width": picture.width, "height": picture.height}
