"""What training leaves on disk: its state for resuming, and its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from dit_toolkit import checkpoint, distributed
from dit_toolkit.consolidated import fill, fill_optimizer
from dit_toolkit.engine import Engine
from dit_toolkit.errors import CheckpointError
from dit_toolkit.files import write_atomically
from dit_toolkit.progress import log, warn
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.recipe.origins import changes, read_origins
from dit_toolkit.recipe.schema import Train
from dit_toolkit.recipe.structure import unstructure
from dit_toolkit.training.ema import EMA

TRAINED = ("dataset", "autoencoder", "model", "objective", "train.backend")
"""Tables on whose components training depends."""


def load_state(path: Path, engine: Engine, averages: Mapping[str, EMA], recipe: AnyRecipe) -> int:
    """Restore a verified checkpoint, whatever number of processes and backend saved it; returns its step. A collective.

    Raises:
        CheckpointError: its contents do not fit the model and the optimizer.
    """
    manifest, shards = checkpoint.read_manifest(path), engine.shards()
    if "optimizer.safetensors" not in manifest["files"]:
        raise CheckpointError(f"{path}: was made by an earlier version; it can be sampled from, but not be resumed")
    log(f"resuming from {path}")
    if manifest["world_size"] != distributed.size():
        log(
            f"processes: {manifest['world_size']} there, {distributed.size()} here; the same images follow, and sums "
            "are rounded in another order"
        )
    fill(path / "raw.safetensors", shards, engine.master())
    for name, ema in averages.items():
        ema.load(path / f"{name}.safetensors", engine, manifest["ema_updates"])
    fill_optimizer(path / "optimizer.safetensors", shards)
    engine.set_counters(manifest["counters"])
    engine.refresh()
    for line in changes(read_origins(path), path.name, recipe, TRAINED):
        warn(line)
    return int(manifest["step"])


class Log:
    """`metrics.jsonl`, one object per logged step and the source of truth, and the trackers that copy it (rank 0)."""

    def __init__(self, folder: Path, settings: Train, recipe: AnyRecipe, step: int) -> None:
        self.path = folder / "metrics.jsonl"
        self.trackers = list(settings.trackers) if distributed.rank() == 0 else []
        self.forget_after(step)
        if distributed.rank() == 0:
            self._tell("start", folder, unstructure(recipe))

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._tell("close")

    def write(self, values: dict[str, float]) -> None:
        """Append the values of one step."""
        if distributed.rank() == 0:
            with self.path.open("a") as file:
                file.write(json.dumps(values) + "\n")
            self._tell("log", int(values["step"]), values)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Show a picture that was written to the trackers."""
        self._tell("images", step, name, path)

    def forget_after(self, step: int) -> None:
        """Drop lines of steps that are about to be done again, and a line cut short by a kill."""
        if distributed.rank() == 0 and self.path.exists():
            self._rewrite(row for row in self._rows() if row["step"] <= step)

    def amend(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to the line of a step that was written before."""
        if distributed.rank() > 0 or not values:
            return
        rows = list(self._rows())
        for row in rows:
            if row["step"] == step:
                row |= values
                self._tell("log", step, row)
        self._rewrite(rows)

    def _rows(self) -> Iterator[dict[str, Any]]:
        """All lines but one that is cut short."""
        for line in self.path.read_text().splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("step"), int):
                    yield row

    def _rewrite(self, rows: Iterable[Mapping[str, Any]]) -> None:
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def _tell(self, method: str, *arguments: Any) -> None:
        """Call every tracker; one that fails is dropped with a warning and never stops the run."""
        for tracker in list(self.trackers):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                self.trackers.remove(tracker)
                warn(f"tracker {tracker.kind!r} failed and is switched off: {error}")
