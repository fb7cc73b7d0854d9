"""What has stopped trainings without a word: locks, ports, names, limits."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from dit_toolkit.doctor.finding import Finding, gib

STALE = 600.0
"""Seconds after which nothing can still be compiling under a lock."""
PORT = 29_500
"""Port of torchrun and deepspeed, unless they are told another."""
SHARED = 2**30
"""Bytes of /dev/shm that several processes on one machine exchange their data through."""
FILES = 4096


def compilers() -> Iterator[Finding]:
    """A C++ compiler and ninja, which offloading and compiled blocks need."""
    advice = "needed for offloading with DeepSpeed and for torch.compile, not otherwise"
    for what, names in {"C++ compiler": ("c++", "g++", "clang++"), "ninja": ("ninja",)}.items():
        seen = next(filter(None, map(shutil.which, names)), None)
        yield Finding("ok", what, seen) if seen else Finding("warn", what, "not found", advice)


def locks() -> Iterator[Finding]:
    """Locks under which torch compiles extensions; one that a killed process left is waited for without end."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch_extensions"
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cache)
    found = sorted(path for depth in ("*/lock", "*/*/lock") for path in root.glob(depth))
    for path in found:
        try:
            age = time.time() - path.stat().st_mtime
        except OSError:  # What was compiled under it is done.
            continue
        seen = f"{path}, {age / 60:.0f} minutes old"
        if age > STALE:
            yield Finding("fail", "extension lock", seen, f"nothing is compiling any more: rm {path}")
        else:
            yield Finding("warn", "extension lock", seen, f"if nothing is compiling: rm {path}")
    if not found:
        yield Finding("ok", "extension lock", f"none in {root}")


def port() -> Finding:
    """The port at which processes meet, where it is not ours to choose (torchrun, deepspeed, srun)."""
    text = os.environ.get("MASTER_PORT", str(PORT))
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        return Finding("fail", "port", f"MASTER_PORT={text}", "set it to a number from 1024 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(text)))
        except OSError as error:
            given = "MASTER_PORT" in os.environ
            return Finding(
                "fail" if given else "warn",
                "port",
                f"{text}: {error.strerror}",
                "give the launcher another one: --master_port",
            )
    return Finding("ok", "port", f"{text} is free")


def host_name(*, several: bool) -> Finding:
    """Whether the machine's own name has an address, which its processes tell those on other hosts."""
    name = socket.gethostname()
    advice = "add it to /etc/hosts, or set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network's device"
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return Finding("warn", "host name", f"{name} has no address", advice)
    if several and address.startswith("127.") and "GLOO_SOCKET_IFNAME" not in os.environ:
        return Finding("warn", "host name", f"{name} is {address}, where other hosts do not find it", advice)
    return Finding("ok", "host name", f"{name} is {address}")


def shared_memory() -> Finding:
    """Size of /dev/shm, of which containers often have 64 MB."""
    try:
        size = shutil.disk_usage("/dev/shm").total
    except OSError:
        return Finding("ok", "/dev/shm", "none on this system")
    if size < SHARED:
        return Finding("warn", "/dev/shm", gib(size), "docker run --shm-size 8g, or --ipc=host")
    return Finding("ok", "/dev/shm", gib(size))


def open_files() -> Finding:
    """How many files a process may have open."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < min(FILES, 1024):
        return Finding("warn", "open files", str(soft), f"ulimit -n {min(FILES, hard) if hard > 0 else FILES}")
    return Finding("ok", "open files", "without limit" if soft == resource.RLIM_INFINITY else str(soft))


def clock() -> Finding:
    """Whether the clock is behind the files of this package: checkpoints and locks are judged by their age."""
    now, written = time.time(), Path(__file__).stat().st_mtime
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    if now < written - 86_400:
        return Finding("warn", "clock", f"{seen}, before this package was installed", "set the clock")
    return Finding("ok", "clock", seen)
