"""What a check of the doctor has found."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line of the table."""

    state: Literal["ok", "warn", "fail"]
    """Sound; runs, but slower or at a risk; does not run."""
    what: str
    seen: str
    advice: str = ""
    """What to do about it."""


def gib(count: float) -> str:
    """Write a number of bytes."""
    return f"{count / 2**30:,.1f} GiB"
