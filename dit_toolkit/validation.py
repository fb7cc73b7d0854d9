"""The loss of a trained model on the held-out split: what `--mode eval` is elsewhere."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

from attrs import frozen
from rich.table import Table

from dit_toolkit import distributed
from dit_toolkit.build import build_model
from dit_toolkit.engine import infer
from dit_toolkit.errors import Interrupted, StorageError
from dit_toolkit.files import write_atomically
from dit_toolkit.progress import track
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.structure import unstructure
from dit_toolkit.training.heldout import TIMES, HeldOut, HeldOutLoss
from dit_toolkit.training.lockstep import Stopped
from dit_toolkit.training.rate import DTYPES
from dit_toolkit.weights import newest_checkpoint, read_weights

FOLDER = "validation"
KINDS: tuple[Literal["ema", "raw"], ...] = ("ema", "raw")


@frozen(kw_only=True)
class Results:
    """What `validate` found; `as_dict` is plain JSON."""

    losses: dict[str, HeldOutLoss]
    """Of the averaged ("ema") and of the raw weights."""
    settings: dict[str, Any]
    """What the numbers mean nothing without."""

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        losses = {
            kind: {"mean": loss.mean, "by_time": {str(time): value for time, value in loss.by_time.items()}}
            for kind, loss in self.losses.items()
        }
        return {"losses": losses, "settings": self.settings}


def validate(recipe: Recipe, folder: Path) -> Results:
    """Compute the loss of a run's newest weights, averaged and raw, with all processes; see `HeldOut`.

    Each process holds the whole model, in the precision of training. The result is written to
    `validation/step-<step>.json` of the run folder.

    Raises:
        DataError: there is no held-out split, or it cannot be read.
        CheckpointError: nothing is trained yet, or it is damaged.
        Interrupted: a signal asked to stop; nothing is written.
        StorageError: the disk is full or not writable.
    """
    device = distributed.device()
    held_out, step = HeldOut(recipe, device), 0
    losses: dict[str, HeldOutLoss] = {}
    digests: dict[str, str] = {}
    newest = distributed.main_alone(lambda: newest_checkpoint(folder))
    for kind in KINDS:
        found = read_weights(newest, recipe=recipe, kind=kind, verify=False)
        model = build_model(recipe)
        model.load_state_dict(found.state)
        model.to(device, DTYPES[recipe.train.precision]).requires_grad_(False)
        try:
            losses[kind] = held_out.loss(partial(infer, model), progress=partial(track, description=f"validate {kind}"))
        except Stopped:
            raise Interrupted("stopped while validating; the same command starts it again") from None
        step, digests[kind] = found.step, found.digest
    options = unstructure(recipe)
    results = Results(
        losses=losses,
        settings={
            "step": step,
            "images": losses["ema"].images,
            "precision": recipe.train.precision,
            "weights_sha256": digests,
            **{table: options[table] for table in ("dataset", "autoencoder", "objective")},
        },
    )
    if distributed.rank() == 0:
        path = folder / FOLDER / f"step-{step:08d}.json"
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(results.as_dict(), indent=1))
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
    return results


def newest(folder: Path) -> dict[str, Any] | None:
    """What `validate` found last in a run folder, as `Results.as_dict`; None where it was not asked for."""
    found = sorted((folder / FOLDER).glob("step-*.json"))
    return json.loads(found[-1].read_text()) if found else None


def table(results: Results) -> Table:
    """Lay the results out for a terminal, a row for each time."""
    settings = results.settings
    table = Table(title=f"loss on {settings['images']:,} held-out images at step {settings['step']:,}")
    table.add_column("time (0 data, 1 noise)")
    for kind in results.losses:
        table.add_column(kind, justify="right")
    for time in TIMES:
        table.add_row(str(time), *(f"{loss.by_time[time]:.5f}" for loss in results.losses.values()))
    table.add_section()
    table.add_row("mean", *(f"{loss.mean:.5f}" for loss in results.losses.values()))
    return table
