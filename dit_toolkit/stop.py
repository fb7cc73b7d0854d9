"""One flag that asks every long loop to save what it has and end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

_requested: str | None = None


def requested() -> str | None:
    """Name of the signal that asked to stop, if any."""
    return _requested


@contextmanager
def listening() -> Iterator[None]:
    """Turn SIGTERM, SIGINT and SIGUSR1 into the flag; a second SIGINT ends the process at once."""
    global _requested
    _requested = None
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    global _requested
    if _requested == "SIGINT" and number == signal.SIGINT:
        os._exit(130)
    _requested = signal.Signals(number).name
