"""A hostfile, as deepspeed and mpirun read it: a line `NAME slots=N` for each machine."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from dit_toolkit.doctor.finding import Finding
from dit_toolkit.errors import DataError


def read_hostfile(path: Path) -> dict[str, int]:
    """Processes of each host; DataError for a line that is none, a host that comes twice, or none at all."""
    found: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"(\S+)\s+slots=(\d+)", text, re.ASCII)
        if not match or int(match[2]) < 1:
            raise DataError(f"{path}, line {number}: {text!r} is not of the form 'NAME slots=N', with N from 1 up")
        if match[1] in found:
            raise DataError(f"{path}, line {number}: {match[1]} comes twice")
        found[match[1]] = int(match[2])
    if not found:
        raise DataError(f"{path}: names no host; write a line 'NAME slots=N' for each machine")
    return found


def hostfile(path: Path) -> Finding:
    """Whether a hostfile is sound and its hosts have addresses."""
    try:
        hosts = read_hostfile(path)
    except DataError as error:
        return Finding("fail", "hostfile", error.lines[0])
    for name in hosts:
        try:
            socket.gethostbyname(name)
        except OSError:
            return Finding("fail", "hostfile", f"{path}: {name} has no address", "correct the name, or /etc/hosts")
    return Finding("ok", "hostfile", f"{len(hosts)} hosts, {sum(hosts.values())} processes")
