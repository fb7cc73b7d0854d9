"""The GPUs, their driver and whether they compute in bf16, as nvidia-smi tells; the CPU where there are none."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dit_toolkit.doctor.finding import Finding, gib
from dit_toolkit.doctor.versions import cuda

DRIVERS = {"11": 450, "12": 525, "13": 580}
"""Least major version of the driver for a major version of CUDA (NVIDIA, CUDA compatibility)."""
BF16 = 8.0
"""Least compute capability with bf16."""


class GPU(NamedTuple):
    """What nvidia-smi tells of one."""

    name: str
    total: int
    free: int
    driver: str
    capability: float


def look() -> list[GPU]:
    """The GPUs of this machine; none where nvidia-smi is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "name,memory.total,memory.free,driver_version,compute_cap"
    command = [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return [_read(line) for line in done.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def gpus(found: Sequence[GPU]) -> Iterator[Finding]:
    """Look at every GPU and at the driver."""
    if not found:
        if shutil.which("nvidia-smi"):
            yield Finding("fail", "GPU", "nvidia-smi sees none", "is the driver loaded? See its own output")
        else:
            yield Finding("ok", "GPU", "none; the CPU trains small models")
        yield _cpu()
        return
    for number, gpu in enumerate(found):
        seen = f"{gpu.name}, {gib(gpu.free)} of {gib(gpu.total)} free"
        if gpu.free < 0.8 * gpu.total:
            yield Finding("warn", f"GPU {number}", seen, "another process uses it: see nvidia-smi")
        else:
            yield Finding("ok", f"GPU {number}", seen)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        yield Finding("warn", "GPU", f"CUDA_VISIBLE_DEVICES={visible} hides all", "unset it")
    yield _driver(found[0].driver)
    least = min(gpu.capability for gpu in found)
    if least < BF16:
        yield Finding("warn", "bf16", f"compute capability {least}", 'use train.precision = "fp16" or "fp32"')
    else:
        yield Finding("ok", "bf16", f"compute capability {least}")


def _read(line: str) -> GPU:
    name, total, free, driver, capability = (part.strip() for part in line.rsplit(",", 4))
    return GPU(name, int(total) * 2**20, int(free) * 2**20, driver, float(capability))


def _driver(driver: str) -> Finding:
    built = cuda() or ""
    least = DRIVERS.get(built.split(".")[0], 0)
    if int(driver.split(".")[0]) < least:
        return Finding("fail", "driver", driver, f"torch's CUDA {built} needs {least} or newer")
    return Finding("ok", "driver", f"{driver}, torch for CUDA {built}" if built else driver)


def _cpu() -> Finding:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return Finding("ok", "bf16", "this system does not say")
    fast = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    if fast:
        return Finding("ok", "bf16", f"the CPU has {fast[0]}")
    return Finding("warn", "bf16", "the CPU computes it in float32", 'train.precision = "fp32" is as fast')
