"""One of two processes is killed, halted, hangs or raises: the other ends soon, and the guilty one shows where."""

import sys
import time

import pytest

from dit_toolkit import launch

SCRIPT = """
import atexit, os, signal, sys, time
from dit_toolkit import distributed, stop, watchdog
from dit_toolkit.cli.shell import report
from dit_toolkit.progress import progress

def guilty():
    FAULT

def main():
    with watchdog.watching(SECONDS), stop.listening():
        distributed.initialise()
        with progress("train", 40) as bar:
            for step in range(40):
                if os.environ["RANK"] == "1" and step == 3:
                    guilty()
                distributed.any_of(False)
                bar.advance()
        distributed.wait()

code = 0
try:
    main()
except Exception as error:
    code = report(error)
distributed.leave(code)
"""
FAULTS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "halted": "os.kill(os.getpid(), signal.SIGSTOP)",
    "hanging": "time.sleep(600)",
    "raising": "raise ZeroDivisionError('one over none')",
    "nothing": "print('not yet flushed', end=''); atexit.register(print, 'too late')",
}


def run(monkeypatch, fault: str, seconds: float) -> tuple[int, float]:
    """Exit code and seconds of two processes, the second of which has a fault."""
    monkeypatch.setattr(launch, "GRACE", 1.0)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    script = SCRIPT.replace("FAULT", FAULTS[fault]).replace("SECONDS", str(seconds))
    began = time.monotonic()
    code = launch.spawn(2, [], program=(sys.executable, "-c", script))
    return code, time.monotonic() - began


@pytest.mark.parametrize(
    ("fault", "silence", "code", "told"),
    [
        ("killed", 300, 128 + 9, "error: process 1 of 2 was ended by SIGKILL"),
        ("halted", 5, 1, "error: process 1 of 2 was halted and does not end; this is where it is:"),
        ("hanging", 5, 1, "Timeout (0:00:05)!"),
        ("raising", 300, 1, "error: [rank 1] unexpected ZeroDivisionError: one over none"),
    ],
    ids=["killed", "halted", "hanging", "raising"],
)
def test_the_others_end_and_it_is_said_where(monkeypatch, capfd, fault, silence, code, told):
    """Long before what hangs would go on, or the silence that counts would be over where nobody is silent."""
    seen, seconds = run(monkeypatch, fault, silence)
    err = capfd.readouterr().err
    assert seen == code, err
    assert told in err
    assert seconds < 200
    if fault in ("halted", "hanging"):
        assert "in guilty" in err
    if fault == "raising":
        assert "error: another process has ended or does not answer" in err


def test_sound_processes_are_left_alone_and_leave_at_once(monkeypatch, capfd):
    """What they printed is there; what would run while Python takes itself apart does not."""
    code, _ = run(monkeypatch, "nothing", 300)
    out, err = capfd.readouterr()
    assert (code, out, err.count("error")) == (0, "not yet flushed", 0)
