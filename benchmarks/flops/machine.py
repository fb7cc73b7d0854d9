"""Where and with what something was measured."""

import platform
from datetime import datetime, timezone
from pathlib import Path

import torch

import dit_toolkit


def describe(device):
    """Date, versions and hardware, without the name of the host."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "dit-toolkit": dit_toolkit.__version__,
        },
        "hardware": {
            "cpu": processor(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None,
        },
    }


def processor():
    """The model of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
