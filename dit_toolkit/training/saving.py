"""Checkpoints of a training, written while it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from dit_toolkit import checkpoint, distributed, watchdog
from dit_toolkit.consolidated import Entry, header, plan, share, stream, take
from dit_toolkit.engine import Engine
from dit_toolkit.errors import Interrupted
from dit_toolkit.progress import log, warn
from dit_toolkit.recipe.schema import Train
from dit_toolkit.shards import Piece, numbers, optimizer_pieces, pieces
from dit_toolkit.training.ema import EMA

SPARE = 0.5
"""Share of the free memory that a copy of the state may take."""


class Saver:
    """Writes checkpoints with all ranks, beside the training where memory for a copy of the state is free.

    Never two at once: `save` waits for the one before. An error of the writing is raised, on all ranks alike, by the
    next `save`, by `wait`, or at the end of the `with` block; `failed` tells of it earlier.
    """

    def __init__(self, folder: Path, settings: Train, texts: Mapping[str, str]) -> None:
        self.folder, self.settings, self.texts = folder, settings, texts
        self._aside = settings.checkpoint_async
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._group = distributed.cpu_group("checkpoint")

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.wait()
        except Exception as failure:
            if error is None or isinstance(error, Interrupted):
                raise
            warn(f"the last checkpoint was not written: {failure}")  # The other error is what ends the training.
        finally:
            self._thread.shutdown()

    @property
    def failed(self) -> bool:
        """Whether the writing that was begun last has ended with an error."""
        return self._writing is not None and self._writing.done() and self._writing.exception() is not None

    def save(self, step: int, engine: Engine, averages: Mapping[str, EMA], info: Mapping[str, Any]) -> None:
        """Save the state of a step; `info` goes into the manifest. A collective."""
        self.wait()
        held = contents(engine, averages)
        plans = {name: plan(found, self._group) for name, found in held.items()}
        shares = {name: share(plans[name], found) for name, found in held.items()}
        info = {"world_size": distributed.size(), "counters": engine.counters(), **info}
        metadata = {"numbers": json.dumps(numbers(engine.shards()))}
        if self._aside and self._fits(shares):
            shares = {
                name: {number: data.to("cpu", copy=True) for number, data in mine.items()}
                for name, mine in shares.items()
            }
            self._writing = self._thread.submit(self._write, step, plans, shares, metadata, info)
        else:
            self._write(step, plans, shares, metadata, info)

    def wait(self) -> None:
        """Wait until what was begun is on the disk; StorageError where it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            with watchdog.any_thread():
                writing.result()

    def _fits(self, shares: Mapping[str, Mapping[int, Tensor]]) -> bool:
        """Whether a copy fits into the memory on every rank; said once where it does not."""
        size, free = (
            sum(data.nbytes for mine in shares.values() for data in mine.values()),
            distributed.free_memory("cpu"),
        )
        if distributed.any_of(size > SPARE * free):
            self._aside = False
            log(
                f"training waits while a checkpoint is written: a copy of its {size / 1e9:.1f} GB would take more than "
                f"half of the {free / 1e9:.1f} GB of memory that are free"
            )
        return self._aside

    def _write(
        self,
        step: int,
        plans: Mapping[str, Sequence[Entry]],
        shares: Mapping[str, Mapping[int, Tensor]],
        metadata: Mapping[str, str],
        info: Mapping[str, Any],
    ) -> None:
        """Bring the shares of all ranks to rank 0, which writes them; a collective, also in what it raises."""
        parts = (part for name, entries in plans.items() for part in stream(entries, shares[name], self._group))
        failure = None
        if distributed.rank() == 0:
            files: dict[str, Any] = {name: [text.encode()] for name, text in self.texts.items()}
            size = sum(len(text) for [text] in files.values())
            for name, entries in plans.items():
                begin, length = header(entries, metadata), sum(entry.size for entry in entries)
                files[name] = chain([begin], (part.numpy().data for part in take(parts, length)))
                size += len(begin) + length
            keep, keep_every = self.settings.checkpoint_keep, self.settings.checkpoint_keep_every
            try:
                checkpoint.save(self.folder, step, files, size=size, keep=keep, keep_every=keep_every, info=info)
            except Exception as error:
                failure = error
        for _ in parts:  # Rank 0 takes what is left after an error: the others wait to be rid of it.
            pass
        if failure := distributed.gather(failure, self._group)[0]:
            failure.told = distributed.rank() > 0
            raise failure


def contents(engine: Engine, averages: Mapping[str, EMA]) -> dict[str, list[Piece]]:
    """What this rank holds of each file of a checkpoint, sharing memory with the engine."""
    shards = engine.shards()
    held = {"raw.safetensors": list(pieces(shards, engine.master()))}
    for name, ema in averages.items():
        held[f"{name}.safetensors"] = list(pieces(shards, ema.shadow))
    held["optimizer.safetensors"] = list(optimizer_pieces(shards))
    return held
