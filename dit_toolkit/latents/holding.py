"""Where the latents of a store are held while they are read."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dit_toolkit import distributed
from dit_toolkit.errors import DataError
from dit_toolkit.latents.manifest import Memory
from dit_toolkit.progress import log


def hold(mapped: Tensor, memory: Memory, path: Path) -> Tensor:
    """Copy latents that are mapped from a file to where they are to be held; nothing where that is the file.

    Raises:
        DataError: there is not that much memory.
    """
    if memory == "mapped":
        return mapped
    device = distributed.device() if memory == "device" else "cpu"
    free = distributed.free_memory(device)
    if mapped.nbytes > free:
        raise DataError(
            f"dataset.memory: {path} has {mapped.nbytes / 1e9:.1f} GB of latents, and each process may still take "
            f'{free / 1e9:.1f} GB of {"RAM" if device == "cpu" else device}; memory = "mapped" needs none'
        )
    log(f"{path}: reading {mapped.nbytes / 1e9:.1f} GB of latents into {'RAM' if device == 'cpu' else device}")
    return mapped.clone() if device == "cpu" else mapped.to(device)
