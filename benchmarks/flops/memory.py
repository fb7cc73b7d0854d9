"""Peak memory of a stretch of work: of torch's allocator on a GPU, resident memory of the process on Linux."""

from pathlib import Path

import torch

PROCESS = Path("/proc/self")


def reset_peak(kind):
    """Let the peak begin at what is in use now."""
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        try:
            (PROCESS / "clear_refs").write_text("5")
        except OSError:
            return


def peak_memory(kind):
    """Bytes, or None where the system does not tell."""
    if kind == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
