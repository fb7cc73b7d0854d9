"""The process group: a few collectives that are no-ops on one process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist


def device() -> str:
    """The device of this process: its own GPU (by local rank), or the CPU."""
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}" if torch.cuda.is_available() else "cpu"


def to_device(tensor: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """Move a tensor; from the CPU to a GPU through pinned memory, without waiting."""
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def free_memory(device: str) -> int:
    """Bytes that this process may still take, on a GPU, or of the machine's memory shared with its neighbours."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def initialise() -> None:
    """Join the process group that the environment describes, or make one of this process alone; once."""
    if dist.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]


def finish() -> None:
    """Leave the process group. One of several processes ends here, with exit code 0, when all have come so far.

    Threads that the libraries leave behind have now and then aborted a process that had done its work and was taking
    itself apart.
    """
    if size() > 1:
        dist.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 is the one that writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all processes."""
    if size() > 1:
        dist.barrier()


def mean(value: torch.Tensor) -> float:
    """Mean of a scalar over the processes."""
    value = value.detach().double()
    if size() > 1:
        dist.all_reduce(value)
    return float(value) / size()


def agree(value: torch.Tensor, flag: bool) -> tuple[float, bool]:
    """Mean of a scalar over the processes, and whether the flag is set on any: one collective, one reading."""
    both = torch.stack([value.detach().double(), torch.tensor(float(flag), dtype=torch.float64, device=value.device)])
    if size() > 1:
        dist.all_reduce(both)
    total, flags = both.tolist()
    return total / size(), flags > 0


def any_of(flag: bool) -> bool:
    """Whether the flag is set on any process."""
    return bool(highest(int(flag)))


def highest(value: int) -> int:
    """The greatest of the processes' numbers."""
    if size() == 1:
        return value
    found = torch.tensor(value, device=device())
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def gather(value: Any) -> list[Any]:
    """Every process's value, in the order of the ranks, on all of them."""
    values: list[Any] = [None] * size()
    if size() == 1:
        return [value]
    dist.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """The value of rank 0."""
    return gather(value)[0]


def merge(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One dictionary of several."""
    return {key: value for part in parts for key, value in part.items()}
