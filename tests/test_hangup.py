"""A terminal that goes away: what trains in it saves and stops; under nohup it goes on."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress

import pytest

from dit_toolkit import checkpoint
from tests.conftest import ROOT, SMALL

LONG = ["train.max_steps=100000", "train.checkpoint_every=100000", "train.log_every=1"]


def command(out, *words: str) -> list[str]:
    sets = [word for change in [*SMALL, *LONG, *words] for word in ("--set", change)]
    start = [sys.executable, "-m", "dit_toolkit", "run", str(ROOT / "recipes/fashion.toml"), "--stage", "train"]
    return [*start, *sets, "--out", str(out)]


def steps(out) -> int:
    """The last step in the log of a run; 0 where there is none yet."""
    try:
        return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    except (OSError, IndexError, ValueError):
        return 0


def wait(process, condition) -> None:
    """Wait until a condition holds of a process that must not end before."""
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_run_saves_and_stops(tmp_path, processes):
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    several = ["train.backend={kind='deepspeed',zero_stage=1}", "train.micro_batch_size=4"] if processes > 1 else []
    process = subprocess.Popen(
        [*command(tmp_path / "run", *several), "--procs", str(processes)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown = bytearray()

    def shows_steps() -> bool:
        with suppress(BlockingIOError):
            shown.extend(os.read(ours, 1 << 16))
        return b"train" in shown and steps(tmp_path / "run") > 1

    try:
        wait(process, shows_steps)
        os.close(ours)
        assert process.wait(60) == 3
    finally:
        process.kill()
        process.wait()
    assert checkpoint.newest(tmp_path / "run/checkpoints") is not None


def test_under_nohup_it_goes_on(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command(tmp_path / "run"),
            stderr=log,
            stdout=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )
    try:
        wait(process, lambda: steps(tmp_path / "run") > 0)
        process.send_signal(signal.SIGHUP)
        before = steps(tmp_path / "run")
        wait(process, lambda: steps(tmp_path / "run") > before + 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 3
    finally:
        process.kill()
        process.wait()
    assert "stopped at step" in (tmp_path / "log").read_text()
