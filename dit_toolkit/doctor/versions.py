"""Versions of Python, torch and DeepSpeed, and whether they fit each other and the machine."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from dit_toolkit.doctor.finding import Finding

TESTED = {"torch": ((2, 8), (2, 14)), "deepspeed": ((0, 18), (0, 19))}
"""Least version that works, and newest that this release was tested with."""


def versions(gpus: int) -> Iterator[Finding]:
    """Look at the packages that training stands on, on a machine with so many GPUs."""
    yield Finding("ok", "python", platform.python_version())
    for package, (least, newest) in TESTED.items():
        yield _version(package, least, newest)
    if gpus and cuda() is None:
        yield Finding("fail", "torch build", "for CPUs alone", "install the build for this CUDA: see pytorch.org")


def cuda() -> str | None:
    """CUDA version that torch was built for, read without importing it; None for other builds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    match = re.search(r"^cuda\b.*= *'([\d.]+)'", text, re.MULTILINE)
    return match[1] if match else None


def _version(package: str, least: tuple[int, ...], newest: tuple[int, ...]) -> Finding:
    def text(numbers: tuple[int, ...]) -> str:
        return ".".join(map(str, numbers))

    try:
        seen = version(package)
    except PackageNotFoundError:
        return Finding("fail", package, "not installed", f"pip install '{package}>={text(least)}'")
    numbers = tuple(int(part) for part in re.findall(r"\d+", seen)[:2])
    if numbers < least:
        return Finding("fail", package, seen, f"pip install '{package}>={text(least)}'")
    if numbers > newest:
        return Finding("warn", package, seen, f"newer than {text(newest)}, the newest that was tested")
    return Finding("ok", package, seen)
