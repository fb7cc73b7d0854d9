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
STACK = "DIT_TOOLKIT_STACK"
"""Variable with the number of the open pipe that the stack is written to on SIGUSR2; stderr where it is not set."""
_EVERY = 1.0
"""Seconds between two windings of the clock, which is a thread of its own."""

_pipe = STDERR
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
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR2, file=_stack())
    if seconds:
        faulthandler.dump_traceback_later(max(seconds, STARTUP), exit=True, file=STDERR)
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
        faulthandler.dump_traceback_later(_seconds, exit=True, file=STDERR)


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


def _stack() -> int:
    """The pipe to the process that started this one, or stderr; those that this one starts do not inherit it."""
    global _pipe
    number = os.environ.pop(STACK, "")
    with suppress(OSError):
        if number and stat.S_ISFIFO(os.fstat(int(number)).st_mode):
            os.set_inheritable(int(number), False)
            _pipe = int(number)
    return _pipe
