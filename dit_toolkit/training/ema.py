"""The moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dit_toolkit.consolidated import fill
from dit_toolkit.engine import Engine
from dit_toolkit.recipe.schema import Train

PIECE = 2**22
"""Rows exchanged at a time: a ZeRO shard is one flat tensor, and its copy would be as large."""


def averages(engine: Engine, settings: Train) -> dict[str, EMA]:
    """The moving averages of a recipe, by the names of their weights."""
    decays = zip(settings.averages, (settings.ema_decay, *settings.ema_more), strict=True)
    return {name: EMA(engine, decay, ramp=settings.ema_ramp) for name, decay in decays}


class EMA:
    """Exponential moving average of the float32 master weights that this rank owns, one update per optimizer step.

    Kept in float32 (0.9999 in bf16 never moves: 1e-4 is below its rounding). With a ramp update n = 0, 1, ... decays by
    min(decay, (1 + n) / (10 + n)), so that early averages are not made of the initial weights.
    """

    def __init__(self, engine: Engine, decay: float, *, ramp: bool = True) -> None:
        self.decay, self.ramp, self.updates = decay, ramp, 0
        self.shadow = [t.detach().clone() for t in engine.master()]

    def update(self, engine: Engine) -> None:
        """Move towards the master weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.ramp else self.decay
        self.updates += 1
        torch._foreach_lerp_(self.shadow, engine.master(), 1 - decay)

    @contextmanager
    def applied(self, engine: Engine) -> Iterator[None]:
        """Exchange master weights and average for the length of a `with` block, e.g. to gather the average by name."""
        self._swap(engine)
        try:
            yield
        finally:
            self._swap(engine)

    @contextmanager
    def running(self, engine: Engine) -> Iterator[None]:
        """Run the engine's forward pass with the average for the length of a `with` block, without another copy.

        After an error the engine stays as it is: ranks that go on without the one that failed must not wait for it.
        """
        with self.applied(engine):
            engine.refresh()
            yield
        engine.refresh()

    def _swap(self, engine: Engine) -> None:
        for shadow, master in zip(self.shadow, engine.master(), strict=True):
            pieces = (torch.split(tensor[None] if tensor.ndim == 0 else tensor, PIECE) for tensor in (shadow, master))
            for mine, theirs in zip(*pieces, strict=True):
                kept = mine.clone()
                mine.copy_(theirs)
                theirs.copy_(kept)

    def load(self, path: Path, engine: Engine, updates: int) -> None:
        """Read this rank's part of an average; CheckpointError where it does not fit."""
        fill(path, engine.shards(), self.shadow)
        self.updates = updates
