"""Everything that is looked at on a machine, whatever the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dit_toolkit.doctor.finding import Finding
from dit_toolkit.doctor.gpu import gpus, look
from dit_toolkit.doctor.hosts import hostfile
from dit_toolkit.doctor.machine import clock, compilers, host_name, locks, open_files, port, shared_memory
from dit_toolkit.doctor.versions import versions


def examine(hosts: Path | None = None) -> Iterator[Finding]:
    """Look at the machine, and at the hosts of a hostfile, if any."""
    found = look()
    yield from versions(len(found))
    yield from gpus(found)
    yield from compilers()
    yield from locks()
    yield port()
    yield host_name(several=hosts is not None)
    yield shared_memory()
    yield open_files()
    yield clock()
    if hosts:
        yield hostfile(hosts)
