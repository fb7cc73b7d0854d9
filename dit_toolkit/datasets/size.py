"""The option that says how large images are."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field


def image_size_field(default: int) -> Any:
    """Make an option of pixels: a side, or [height, width]."""
    return field(default=default, validator=_positive)


def sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def _positive(_: object, attribute: Attribute[Any], value: int | tuple[int, int]) -> None:
    if not all(1 <= side <= 65_536 for side in sides(value)):
        raise ValueError(f"'{attribute.name}' must be 1 to 65536: {value}")
