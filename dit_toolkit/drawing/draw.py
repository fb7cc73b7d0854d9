"""From a trained model to a file of samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dit_toolkit import distributed, stop
from dit_toolkit._version import __version__
from dit_toolkit.drawing.facts import describe, sidecar
from dit_toolkit.drawing.parts import Parts, refuse_taken
from dit_toolkit.drawing.pngs import Pngs
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.files import alone, storage
from dit_toolkit.images import to_uint8
from dit_toolkit.progress import progress, share
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.sampling import Trained, labels_of


def sample(trained: Trained, out: str | Path, *, png: str | Path | None = None) -> Path:
    """Draw the recipe's [sample] with all processes into an .npz (`arr_0`, uint8 NHWC) and a .json beside it.

    Sample i and its label are functions of the seed and of i. What is drawn is kept in the folder `OUT.partial` until
    the file is complete, and a call with the same settings goes on there, on any number of processes and with any
    sizes of batches. Equal sizes give equal files, byte for byte; others those of other rounding.

    Args:
        trained: what `load` returns; its recipe's [sample] says what is drawn.
        out: the file to write, whose name ends in .npz; a .json with all settings and labels is written beside it.
        png: a new or empty folder for a PNG file of each sample, too.

    Returns:
        `out`.

    Raises:
        DataError: a file is there already, `png` is not empty, or `OUT.partial` holds samples of other settings.
        RecipeError: the settings do not fit the model.
        StorageError: the disk is full or not writable; what is drawn is kept.
        Interrupted: a signal, the time or a file asked to stop; what is drawn is kept.
    """
    out = Path(out)
    distributed.initialise()
    distributed.together(trained.check)
    labels = labels_of(trained.recipe)
    facts = distributed.main_alone(lambda: describe(trained))
    parts = _parts(trained.recipe, facts, out)
    pngs = Pngs(folder=Path(png), count=len(labels), record=parts.folder / "png.json") if png else None
    with ExitStack() as held:
        done = distributed.main_alone(lambda: _begin(parts, pngs, held))
        for part in done[distributed.rank() :: distributed.size()]:
            if pngs and pngs.missing(part):
                pngs.write(part.start, parts.read(part))
        _draw(trained, labels, done, parts, pngs)
        distributed.wait()
        distributed.main_alone(lambda: parts.pack(json.dumps(sidecar(trained, facts, labels))))
    distributed.main_alone(parts.remove)
    return out


def begun_with_other_settings(trained: Trained, out: Path) -> bool:
    """Whether `OUT.partial` holds samples with which a drawing into `out` cannot go on."""
    return bool(_parts(trained.recipe, describe(trained), out).differences())


def missing(done: Sequence[range], count: int, size: int) -> Iterator[range]:
    """Batches of at most `size` of those of `count` samples that are not in `done`, which is in order.

    Where each part of `done` is such a batch, what is left is cut as it would be without them.
    """
    first = 0
    for part in (*done, range(count, count)):
        for start in range(first, part.start, size):
            yield range(start, min(start + size, part.start))
        first = part.stop


def _parts(recipe: Recipe, facts: dict[str, Any], out: Path) -> Parts:
    _, height, width = sizes(recipe).image
    count = recipe.sample.num_samples
    settings = {**facts, "num_samples": count, "dit_toolkit": __version__}
    return Parts(out=out, settings=settings, count=count, shape=(height, width, 3))


def _begin(parts: Parts, pngs: Pngs | None, held: ExitStack) -> list[range]:
    """Take the folder of the parts for as long as `held` is open; which samples are drawn already."""
    refuse_taken(parts.out)
    if pngs:
        pngs.check()
    with storage(parts.folder):
        parts.folder.mkdir(exist_ok=True)
        held.enter_context(alone(parts.folder))
    parts.claim()
    if pngs:
        pngs.claim()
    with storage(parts.folder):
        done = parts.found()
        parts.refuse_full_disk(sum(map(len, done)))
    return done


def _draw(trained: Trained, labels: np.ndarray, done: list[range], parts: Parts, pngs: Pngs | None) -> None:
    """Draw what is missing, the processes in step; a thread writes a batch while the next one is drawn."""
    batches, processes = list(missing(done, len(labels), trained.recipe.sample.batch_size)), distributed.size()

    def write(first: int, drawn: Tensor) -> None:
        try:
            images = to_uint8(drawn)
        except DataError as error:
            raise DataError(f"samples {first} to {first + len(drawn) - 1}: {error}") from None
        if pngs:
            pngs.write(first, images)
        parts.write(first, images)

    written: Future[None] | None = None
    with (
        progress("sample", len(labels), done=sum(map(len, done))) as bar,
        ThreadPoolExecutor(1, thread_name_prefix="write") as thread,
    ):
        for turn in range(0, len(batches), processes):
            together = batches[turn : turn + processes]
            with share(bar, sum(map(len, together))) as shown:
                if distributed.rank() < len(together):
                    batch = together[distributed.rank()]
                    drawn = trained.sample(labels[batch.start : batch.stop], index=batch, callback=shown).cpu()
                    if written:
                        written.result()
                    written = thread.submit(write, batch.start, drawn)
            if distributed.any_of(stop.requested() is not None) and turn + processes < len(batches):
                if written:
                    written.result()
                raise Interrupted(
                    f"stopped while sampling; the same command goes on ({parts.folder} keeps what is done)"
                )
        if written:
            written.result()
