"""Whole tensors by parameter name, in safetensors files that any number of processes can read.

Every rank holds pieces of the tensors; rank 0 receives them in the order of the file, a little at a time, so that no
process ever holds more than it trains with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open

from dit_toolkit import distributed, watchdog
from dit_toolkit.errors import CheckpointError
from dit_toolkit.shards import Piece, Shard, fill_span, set_groups

CHUNK = 2**24
"""Bytes that travel and are written at a time."""
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""As safetensors names them; https://huggingface.co/docs/safetensors has the format."""


class Run(NamedTuple):
    """Consecutive elements of a tensor, and the piece of a rank that holds them."""

    first: int
    length: int
    rank: int
    piece: int


class Entry(NamedTuple):
    """A tensor of a file."""

    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    runs: list[Run]

    @property
    def size(self) -> int:
        """In bytes."""
        return prod(self.shape) * self.dtype.itemsize


def plan(pieces: Sequence[Piece], group: Any = None) -> list[Entry]:
    """Agree with all ranks on the tensors of a file and on who sends what; a collective.

    Raises:
        CheckpointError: the pieces of all ranks do not make up a tensor.
    """
    mine = [(p.key, p.shape, p.data.dtype, p.first, p.data.numel()) for p in pieces]
    found: dict[str, Entry] = {}
    for rank, theirs in enumerate(distributed.gather(mine, group)):
        for number, (key, shape, dtype, first, length) in enumerate(theirs):
            entry = found.setdefault(key, Entry(key, shape, dtype, []))
            if length and all(run.first != first for run in entry.runs):  # The first of the ranks that have the same.
                entry.runs.append(Run(first, length, rank, number))
    for entry in found.values():
        entry.runs.sort()
        ends = [0, *(run.first + run.length for run in entry.runs)]
        if [run.first for run in entry.runs] != ends[:-1] or ends[-1] != prod(entry.shape):
            raise CheckpointError(
                f"{entry.key}: the processes together do not hold each of its {prod(entry.shape)} elements once"
            )
    return sorted(found.values(), key=lambda entry: (-entry.dtype.itemsize, entry.key))  # Each aligned to its size.


def header(entries: Iterable[Entry], metadata: Mapping[str, str]) -> bytes:
    """The bytes with which the file begins."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for entry in entries:
        offsets = [end, end := end + entry.size]
        table[entry.key] = {"dtype": DTYPES[entry.dtype], "shape": list(entry.shape), "data_offsets": offsets}
    text = json.dumps(table).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text


def share(entries: Iterable[Entry], pieces: Sequence[Piece]) -> dict[int, torch.Tensor]:
    """The elements that this rank contributes, by the number of the piece."""
    numbers = [run.piece for entry in entries for run in entry.runs if run.rank == distributed.rank()]
    return {number: pieces[number].data for number in numbers}


def stream(entries: Iterable[Entry], mine: Mapping[int, torch.Tensor], group: Any = None) -> Iterator[torch.Tensor]:
    """Yield the bytes of the tensors in their order, on rank 0; the other ranks send their share and get nothing."""
    for entry in entries:
        for run in entry.runs:
            size = run.length * entry.dtype.itemsize
            for start in range(0, size, CHUNK):
                watchdog.beat()
                if run.rank == distributed.rank():
                    part = mine[run.piece].view(torch.uint8)[start : start + CHUNK].cpu()
                    if run.rank == 0:
                        yield part
                    else:
                        dist.send(part, 0, group=group)
                elif distributed.rank() == 0:
                    part = torch.empty(min(CHUNK, size - start), dtype=torch.uint8)
                    dist.recv(part, run.rank, group=group)
                    yield part


def gather(pieces: Sequence[Piece]) -> dict[str, torch.Tensor]:
    """Gather whole tensors on the CPU of rank 0 (empty on the others); a collective."""
    group = distributed.cpu_group("main")
    entries = plan(pieces, group)
    parts = stream(entries, share(entries, pieces), group)
    if distributed.rank() > 0:
        for _ in parts:
            pass
        return {}
    whole = {}
    for entry in entries:
        flat, done = torch.empty(entry.size, dtype=torch.uint8), 0
        for part in take(parts, entry.size):
            flat[done : done + len(part)] = part
            done += len(part)
        whole[entry.key] = flat.view(entry.dtype).view(entry.shape)
    return whole


def take(parts: Iterator[torch.Tensor], length: int) -> Iterator[torch.Tensor]:
    """The next `length` bytes of a stream, which end with one of its parts."""
    while length:
        part = next(parts)
        length -= len(part)
        yield part


def fill(path: Path, shards: Sequence[Shard], tensors: Sequence[torch.Tensor]) -> None:
    """Read this rank's part of tensors that go with its shards; CheckpointError where the file does not fit."""
    with _open(path) as file:
        for shard, tensor in zip(shards, tensors, strict=True):
            for span in shard.spans:
                watchdog.beat()
                fill_span(_read(path, file, span.name, span.shape), span, tensor)


def fill_optimizer(path: Path, shards: Sequence[Shard]) -> None:
    """Read this rank's part of what the optimizer keeps; CheckpointError where the file does not fit."""
    with _open(path) as file:
        kinds: dict[str, list[str]] = {}
        for key in file.keys():  # noqa: SIM118 - not a dict
            kind, _, name = key.partition("/")
            kinds.setdefault(name, []).append(kind)
        told = json.loads(file.metadata()["numbers"])
        for shard in shards:
            for kind in sorted({kind for span in shard.spans for kind in kinds.get(span.name, ())}):
                shard.state[kind] = _restored(path, file, kind, shard, kind in told["plain"])
    set_groups(shards, told["groups"])


def _restored(path: Path, file: Any, kind: str, shard: Shard, plain: bool) -> Any:
    """One value of an optimizer's state for a shard."""
    span = max(shard.spans, key=lambda span: len(span.shape))  # A parameter without dimensions says nothing.
    one = _read(path, file, f"{kind}/{span.name}")
    if plain:
        return one.item()
    if one.shape == span.shape and one.ndim:
        before = shard.state.get(kind)
        tensor = before if before is not None else torch.zeros_like(shard.master, dtype=one.dtype)
        for part in shard.spans:
            fill_span(_read(path, file, f"{kind}/{part.name}", part.shape), part, tensor)
        return tensor
    if one.ndim == 0:  # Where torch keeps its step counts.
        on_device = shard.group.get("fused") or shard.group.get("capturable")
        return one.to(shard.master.device if on_device else "cpu", copy=True)
    return one.to(shard.master.device, copy=True)


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _read(path: Path, file: Any, key: str, shape: tuple[int, ...] | None = None) -> torch.Tensor:
    """One tensor of a file; its pages are read when they are copied."""
    try:
        tensor: torch.Tensor = file.get_tensor(key)
    except SafetensorError:
        raise CheckpointError(f"{path}: holds no {key}, which this model and optimizer need") from None
    if shape is not None and tensor.shape != shape:
        raise CheckpointError(f"{path}: {key} is {tuple(tensor.shape)}, expected {shape}")
    return tensor
