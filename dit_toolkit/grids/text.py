"""Text within a given width."""

from __future__ import annotations

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK = "#222222"
SMALLEST, LARGEST = 9.0, 16.0
"""Sizes of a font in pixels."""


def font_for(height: float) -> Font:
    """Font for a line beside something `height` pixels high."""
    return ImageFont.load_default(size=min(LARGEST, max(SMALLEST, height * 0.7)))


def width(text: str, font: Font) -> int:
    """Pixels that a line takes, rounded up."""
    return -int(-font.getlength(text) // 1)


def cut(text: str, font: Font, room: int) -> str:
    """A line of at most `room` pixels: the text itself, or its beginning and an ellipsis."""
    if width(text, font) <= room:
        return text
    kept = next((n for n in range(len(text), 0, -1) if width(f"{text[:n].rstrip()}...", font) <= room), 0)
    return f"{text[:kept].rstrip()}..."


def wrap(text: str, font: Font, room: int, lines: int) -> list[str]:
    """At most `lines` lines of at most `room` pixels, split at spaces and after commas; what is too long is cut."""
    found: list[str] = []
    for word in text.replace(",", ", ").split():
        longer = f"{found[-1]} {word}" if found else ""
        if found and (len(found) == lines or width(longer, font) <= room):
            found[-1] = longer
        else:
            found.append(word)
    return [cut(line, font, room) for line in found]
