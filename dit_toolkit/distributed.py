"""The process group: a few collectives that are no-ops on one process."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from dit_toolkit import watchdog
from dit_toolkit.errors import DitToolkitError

T = TypeVar("T")
MARGIN = 20.0
"""Seconds for which a collective outlasts the silence that ends a process."""
PATIENT = timedelta(days=30)
"""Time limit of collectives in which processes wait for one that works alone."""
_patient: Any = None
"""All processes, for waiting for work that only one of them does."""


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
    return _memory(device)[0]


def all_memory(device: str) -> int:
    """Bytes of a GPU, or of the machine's memory shared with its neighbours."""
    return _memory(device)[1]


def _memory(device: str) -> tuple[int, int]:
    if torch.device(device).type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(free), int(total)
    import psutil

    machine, neighbours = psutil.virtual_memory(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return int(machine.available) // neighbours, int(machine.total) // neighbours


def initialise() -> None:
    """Join the process group that the environment describes, or make one of this process alone; once.

    A process whose silence is watched waits for the others a little longer than that, so that who is silent shows where
    it is before the others give up; else as long as torch does.
    """
    global _patient
    if dist.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        seconds = watchdog.timeout()
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds + MARGIN) if seconds else None)
        _patient = dist.new_group(backend="gloo", timeout=PATIENT)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
        atexit.register(_dissolve)  # Not before: DeepSpeed keeps its groups as long as Python runs.


def _dissolve() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def leave(code: int) -> None:
    """End this process, if it is one of several, with whatever code; one alone goes on.

    At once, since threads that the libraries leave behind have now and then aborted a process that had done its work
    and was taking itself apart, and the launcher took that for a failure. Nothing is lost: files were closed before,
    the streams are flushed here, and worker processes are ended as Python would.
    """
    if size() > 1:
        for child in multiprocessing.active_children():
            child.terminate()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait() -> None:
    """Wait for all processes, however long one of them works alone."""
    if size() > 1:
        with watchdog.paused():
            dist.barrier(group=_patient)


def main_alone(work: Callable[[], T]) -> T:
    """Do something on rank 0 while the others wait, however long it takes; its result, or its error, is everybody's."""
    if size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    with watchdog.paused():
        if rank() == 0:
            try:
                outcome[0] = work()
            except DitToolkitError as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, src=0, group=_patient)
    result, failure = outcome
    if failure is not None:
        failure.told = rank() > 0
        raise failure
    return result


def together(work: Callable[[], T]) -> T:
    """Do something on all processes; an error of one is everybody's, and is told once."""
    result, failure = None, None
    try:
        result = work()
    except DitToolkitError as error:
        failure = error
    for number, found in enumerate(gather(failure)):
        if found is not None:
            raised = failure if number == rank() and failure is not None else found
            raised.told = rank() > 0
            raise raised
    return cast(T, result)


def rank() -> int:
    """This process's number; 0 is the one that writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all processes."""
    watchdog.beat()
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


def gather(value: Any, group: Any = None) -> list[Any]:
    """Every process's value, in the order of the ranks, on all of them."""
    watchdog.beat()
    values: list[Any] = [None] * size()
    if size() == 1:
        return [value]
    dist.all_gather_object(values, value, group)
    return values


@lru_cache
def cpu_group(thread: str) -> Any:  # noqa: ARG001 - one group each
    """The group of all processes in which a thread exchanges tensors on the CPU; a collective when first called.

    Its patience has no end, since one process writes while the others wait; that one of them has died ends it at once.
    """
    return dist.new_group(backend="gloo", timeout=PATIENT) if size() > 1 else None


def broadcast(value: Any) -> Any:
    """The value of rank 0."""
    return gather(value)[0]


def merge(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One dictionary of several."""
    return {key: value for part in parts for key, value in part.items()}
