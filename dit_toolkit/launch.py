"""The processes of a run: which one this is, how many there should be, and our own starter of them on one machine.

Variables set by torchrun, `deepspeed` or SLURM's srun are taken as they are, and nothing is started then.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dit_toolkit import stop, watchdog
from dit_toolkit.errors import DitToolkitError, Interrupted
from dit_toolkit.progress import log

PATIENCE = 1.0
"""Seconds in which the processes beside one that failed may end by themselves; they may have the same error to tell."""
GRACE = 8.0
"""Seconds after SIGTERM for those that did not; then they are asked where they are, and ended by SIGKILL."""
TELLING = 5.0
"""Seconds in which processes that are asked for their stacks must begin to show them."""
PAUSE = 0.2
"""Seconds of silence after which it has shown it all."""
_PDEATHSIG = 1


class World(NamedTuple):
    """This process among all of a run."""

    rank: int
    local_rank: int
    size: int


def launched() -> bool:
    """Whether a launcher has started this process as one of a world."""
    return "RANK" in os.environ or _in_slurm_step()


def world() -> World:
    """Read RANK, WORLD_SIZE and LOCAL_RANK; under srun set them, MASTER_ADDR and MASTER_PORT from SLURM's first.

    Raises:
        DitToolkitError: a variable is missing or does not fit the others.
    """
    if "RANK" not in os.environ and _in_slurm_step():
        _translate_slurm(os.environ)
    if "RANK" not in os.environ:
        return World(0, 0, 1)
    rank, size, local_rank = _number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_RANK", default="0")
    if rank >= size:
        raise DitToolkitError(f"RANK ({rank}) is not below WORLD_SIZE ({size})")
    return World(rank, local_rank, size)


def processes(requested: int | None = None) -> int:
    """How many processes to start on this machine: `requested`, or one per visible GPU, or one."""
    return requested or max(1, gpus())


def gpus() -> int:
    """Count the visible GPUs; torch is imported only where there may be one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    devices = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd"), *Path("/dev").glob("dxg")]
    if not devices and not shutil.which("nvidia-smi"):
        return 0
    import torch

    return torch.cuda.device_count()


def spawn(n: int, argv: Sequence[str], *, program: Sequence[str] = (sys.executable, "-m", "dit_toolkit")) -> int:
    """Run n copies of `program argv` as ranks 0 to n - 1 until all have ended; return the exit code of the whole.

    What asks to stop (`stop.SIGNALS`) is passed on. When a process fails, the others get SIGTERM after PATIENCE seconds
    and SIGKILL another GRACE seconds later; those that are left then hang, and show before where (see `watchdog`). The
    code is that of the first failure; 3 (stopped, resumable) is no failure and ends nobody. The processes never outlive
    this one (Linux).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shared = {
        "OMP_NUM_THREADS": str(max(1, cores // n)),
        **os.environ,
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    children: list[_Child] = []
    with _collecting() as received:
        try:
            for rank in range(n):
                children.append(_start([*program, *argv], {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
            return _wait(children, received)
        finally:
            _send(signal.SIGKILL, children)
            for child in children:
                child.wait()
                for pipe in child.pipes:
                    os.close(pipe)


class _Child(subprocess.Popen[bytes]):
    """A process that was started."""

    pipes: Sequence[int]
    """Ends of the pipes on which it shows its stack, see `watchdog.PIPES`."""


def _start(command: Sequence[str], env: dict[str, str]) -> _Child:
    ours, theirs = zip(*(os.pipe() for _ in watchdog.PIPES), strict=True)
    try:
        child = _Child(
            command,
            env={**env, **dict(zip(watchdog.PIPES, map(str, theirs), strict=True))},
            stdin=subprocess.DEVNULL,
            pass_fds=theirs,
            start_new_session=True,  # or Ctrl-C would reach the children twice
            preexec_fn=_tie_to(os.getpid()),
        )
    except BaseException:
        for pipe in ours:
            os.close(pipe)
        raise
    finally:
        for pipe in theirs:
            os.close(pipe)
    child.pipes = ours
    return child


def _wait(children: Sequence[_Child], received: list[int]) -> int:
    failure = 0
    asked: set[int] = set()
    steps: list[tuple[float, int]] = []
    while True:
        running = None in [child.poll() for child in children]
        for child in children:
            _show(child)
        failed = [
            rank for rank, child in enumerate(children) if child.returncode not in (None, 0, Interrupted.exit_code)
        ]
        if failed and not failure:
            # Losing a peer ends in code 1, so that another code is nearer to the cause.
            failure = _report(min(failed, key=lambda rank: children[rank].returncode == 1), children, asked)
            now = time.monotonic()
            steps = [(now + PATIENCE, signal.SIGTERM), (now + PATIENCE + GRACE, signal.SIGKILL)]
        if not running:
            return failure or max(child.returncode for child in children)
        if steps and time.monotonic() > steps[0][0]:
            number = steps.pop(0)[1]
            if number == signal.SIGKILL:
                _ask(children)
            received.append(number)
        while received:
            asked.add(number := received.pop(0))
            _send(number, children)
        time.sleep(0.05)


def _report(rank: int, children: Sequence[_Child], asked: Collection[int]) -> int:
    """Say how the first process failed, where it does not say so itself; the code of the whole."""
    code: int = children[rank].returncode
    if -code in asked:
        log(f"stopped by {signal.Signals(-code).name} while starting; the same command goes on")
        return Interrupted.exit_code
    if code == 1:
        log(f"error: process {rank} of {len(children)} ended first, with code 1; the others are ended too")
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    log(f"error: process {rank} of {len(children)} was ended by {name}{hint}")
    return 128 - code


def _ask(children: Sequence[_Child]) -> None:
    """Let each process that is left show its stack; one that was halted goes on for that."""
    left = [(rank, child, _halted(child.pid)) for rank, child in enumerate(children) if child.poll() is None]
    for _, child, _ in left if hasattr(signal, "SIGUSR2") else ():
        child.send_signal(signal.SIGUSR2)
        child.send_signal(signal.SIGCONT)
    end = time.monotonic() + TELLING
    for rank, child, halted in left:
        state = " was halted and" if halted else ""
        log(f"error: process {rank} of {len(children)}{state} does not end; this is where it is:")
        _show(child, wait=max(0.0, end - time.monotonic()))


def _show(child: _Child, wait: float = 0.0) -> None:
    """Show on stderr the stacks that a process has shown since the last time, or begins to show within some seconds."""
    told, left = dict.fromkeys(child.pipes, b""), [*child.pipes]
    while left and (ready := select.select(left, [], [], PAUSE if any(told.values()) else wait)[0]):
        for pipe in ready:
            if part := os.read(pipe, 1 << 16):
                told[pipe] += part
            else:  # Its end is closed.
                left.remove(pipe)
    for stack in filter(None, told.values()):
        log(stack.decode(errors="replace").rstrip())


def _halted(pid: int) -> bool:
    """Whether a process is in the state that SIGSTOP brings about (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    except OSError:
        return False


def _send(number: int, children: Sequence[_Child]) -> None:
    for child in children:
        child.send_signal(number)  # does nothing for one that has ended


@contextmanager
def _collecting() -> Iterator[list[int]]:
    """Collect the signals that ask to stop in a list instead of acting on them."""
    received: list[int] = []

    def collect(number: int, _: object) -> None:
        received.append(number)
        if number == signal.SIGHUP:
            stop.leave_terminal()

    with stop.handling(collect):
        yield received


def _tie_to(parent: int) -> Callable[[], None] | None:
    """Make what a child does before its program starts: ask the kernel to be killed when the parent dies."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def tie() -> None:
        libc.prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _in_slurm_step() -> bool:
    """Whether srun started this process beside others; a batch script itself has SLURM_PROCID too, but no step."""
    return "SLURM_PROCID" in os.environ and "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_NTASKS", "1") != "1"


def _translate_slurm(env: os._Environ[str]) -> None:
    env["RANK"], env["WORLD_SIZE"] = env["SLURM_PROCID"], env["SLURM_NTASKS"]
    env["LOCAL_RANK"] = env.get("SLURM_LOCALID", "0")
    hosts = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST", "")
    env.setdefault("MASTER_ADDR", first_host(hosts) or "127.0.0.1")
    step = _number("SLURM_JOB_ID", default="0") * 10 + _number("SLURM_STEP_ID")
    env.setdefault("MASTER_PORT", str(15_000 + step % 15_000))  # below the ports that Linux gives out itself


def first_host(hosts: str) -> str:
    """First name of a SLURM host list: "node[001-4,7],other" gives "node001"."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first.group() if first else "")


def _number(name: str, default: str | None = None) -> int:
    text = os.environ.get(name, default)
    if text is None:
        raise DitToolkitError(f"RANK is set but {name} is not; a launcher sets both")
    if not text.isdecimal():
        raise DitToolkitError(f"{name} is {text!r}, not a whole number")
    return int(text)
