"""One flag that asks every long loop to save what it has and end: by a signal, a time limit or a file."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
NAME = "stop"
"""A file of this name in a run folder stops the run."""
_LOOK = 1.0
"""Seconds between two looks for it."""

_requested: str | None = None
_deadline: float | None = None
_file: Path | None = None
_next_look = 0.0


def requested() -> str | None:
    """What asked to stop, if anything: the name of a signal, "the time limit" or the path of a file."""
    global _requested, _next_look
    if _requested is None:
        now = time.monotonic()
        if _deadline is not None and now >= _deadline:
            _requested = "the time limit"
        elif _file is not None and now >= _next_look:
            _next_look = now + _LOOK
            _requested = str(_file) if _file.exists() else None
    return _requested


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call a handler for SIGNALS; not for SIGHUP where it is ignored, as under nohup."""
    heard = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def leave_terminal() -> None:
    """Write into the void what would go to a terminal: it is gone after SIGHUP, and writing to it would be an error."""
    void = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        with suppress(OSError):  # It is closed already.
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(void, stream)
    os.close(void)


@contextmanager
def listening(deadline: float | None = None) -> Iterator[None]:
    """Turn SIGTERM, SIGINT, SIGUSR1 and SIGHUP into the flag; a second SIGINT ends the process at once.

    Inside another such block what has asked to stop already still does.

    Args:
        deadline: when `time.monotonic()` is that late, the flag is set too.
    """
    global _requested, _deadline, _file
    outer = _deadline
    if _on_signal not in map(signal.getsignal, SIGNALS):
        _requested = None
    _deadline, _file = deadline, None
    try:
        with handling(_on_signal):
            yield
    finally:
        _deadline, _file = outer, None


def watch(folder: Path, *, clear: bool) -> None:
    """Let a file `stop` in a folder set the flag; with `clear` one that is left from an earlier run goes first."""
    global _file, _next_look
    _file, _next_look = folder / NAME, 0.0
    if clear:
        _file.unlink(missing_ok=True)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    global _requested
    if _requested == "SIGINT" and number == signal.SIGINT:
        os._exit(130)
    if number == signal.SIGHUP:
        leave_terminal()
    _requested = signal.Signals(number).name
