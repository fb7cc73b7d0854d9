"""Ends a process that has given no sign of life for too long, and shows where it was: from C, whatever Python does."""

from __future__ import annotations

import faulthandler
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STARTUP = 300.0
"""Least seconds before the first sign of life: imports, reading data and building a model take their time."""
STDERR = 2
STACK, SILENCE = PIPES = "DIT_TOOLKIT_STACK", "DIT_TOOLKIT_SILENCE"
"""Variables with the numbers of the open pipes that the stack is written to: on SIGUSR2, and after too long a silence.

Both may happen at once, in several processes, which would mix on stderr; that is taken where a variable is not set.
"""
_EVERY = 1.0
"""Seconds between two windings of the clock, which is a thread of its own."""

_pipes: dict[str, int] = {}
_seconds = 0.0
_wound = 0.0
_thread = 0
"""The thread that is watched: signs of life of another say nothing of it. 0 is any."""


@contextmanager
def watching(seconds: float) -> Iterator[None]:
    """Watch this process for the length of a `with` block; 0 seconds is never.

    On SIGUSR2, and when it crashes, it shows its Python stack.
    """
    global _seconds, _wound, _thread
    _seconds, _wound, _thread = seconds, 0.0, threading.get_ident()
    if not faulthandler.is_enabled():
        faulthandler.enable(file=STDERR)
    _pipe(SILENCE)  # Also where it is not watched: what this process starts is not to find it.
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR2, file=_pipe(STACK))
    if seconds:
        _wind(max(seconds, STARTUP))
    try:
        yield
    finally:
        _seconds = 0.0
        faulthandler.cancel_dump_traceback_later()


def timeout() -> float:
    """Seconds of silence after which this process ends; 0 where it is not watched."""
    return _seconds


def beat() -> None:
    """Give a sign of life of the thread that is watched; costs nothing most of the time."""
    global _wound
    if (
        _seconds
        and _thread in (0, threading.get_ident())
        and (now := time.monotonic()) - _wound >= min(_EVERY, _seconds / 4)
    ):
        _wound = now
        _wind(_seconds)


@contextmanager
def any_thread() -> Iterator[None]:
    """Take signs of life of any thread for the length of a `with` block, in which the one watched waits for another."""
    global _thread
    before, _thread = _thread, 0
    try:
        yield
    finally:
        _thread = before
        beat()


@contextmanager
def paused() -> Iterator[None]:
    """Expect no sign of life for the length of a `with` block."""
    global _seconds, _wound
    seconds, _seconds = _seconds, 0.0
    if seconds:
        faulthandler.cancel_dump_traceback_later()
    try:
        yield
    finally:
        _seconds, _wound = seconds, 0.0
        beat()


def _wind(seconds: float) -> None:
    """Let this process show its stack and end after so many seconds, unless it is wound again before."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=_pipe(SILENCE))


def _pipe(name: str) -> int:
    """A pipe to the process that started this one, or stderr; those that this one starts do not inherit it."""
    if name not in _pipes:
        _pipes[name] = STDERR
        number = os.environ.pop(name, "")
        with suppress(OSError):
            if number and stat.S_ISFIFO(os.fstat(int(number)).st_mode):
                os.set_inheritable(int(number), False)
                _pipes[name] = int(number)
    return _pipes[name]
