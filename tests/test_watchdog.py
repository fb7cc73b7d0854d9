"""Whose signs of life count, and where a stack is shown."""

import os
import subprocess
import sys
import threading

import pytest

from dit_toolkit import watchdog


@pytest.fixture
def wound(monkeypatch):
    """Each winding of the clock, which in truth would end this process later."""
    found = []
    monkeypatch.setattr(watchdog, "_EVERY", 0.0)
    monkeypatch.setattr(watchdog.faulthandler, "dump_traceback_later", lambda seconds, **_: found.append(seconds))
    return found


def elsewhere(work):
    """Do something in another thread."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_only_the_thread_that_is_watched_gives_signs_of_life(wound):
    with watchdog.watching(400.0):
        elsewhere(watchdog.beat)
        assert wound == [400.0]  # That of the start.
        watchdog.beat()
        assert wound == [400.0, 400.0]


def test_any_thread_does_while_the_one_watched_waits_for_it(wound):
    with watchdog.watching(400.0):
        with watchdog.any_thread():
            elsewhere(watchdog.beat)
            assert len(wound) == 2
        assert len(wound) == 3
        elsewhere(watchdog.beat)
        assert len(wound) == 3


@pytest.mark.parametrize("number", ["99", "1"])
def test_a_number_that_is_no_pipe_is_not_written_to(tmp_path, number):
    """As a process finds it that was started by a training, not by its launcher."""
    script = """
import os, signal
from dit_toolkit import watchdog
def here():
    os.kill(os.getpid(), signal.SIGUSR2)
with watchdog.watching(0):
    here()
    print(watchdog.STACK in os.environ)
"""
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, watchdog.STACK: number},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert (tmp_path / "out").read_text() == "False\n"
    assert "in here" in done.stderr
