"""A run: train, sample and evaluate a recipe in one folder, going on from whatever is there."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tomli

from dit_toolkit import checkpoint, distributed, stop, validation
from dit_toolkit.build import parameters
from dit_toolkit.doctor.room import preflight
from dit_toolkit.drawing.draw import begun_with_other_settings, sample
from dit_toolkit.drawing.facts import describe
from dit_toolkit.errors import CheckpointError, DataError, RecipeError
from dit_toolkit.evaluation import evaluate, table
from dit_toolkit.files import alone, write_atomically
from dit_toolkit.grids.saving import save_still
from dit_toolkit.grids.sheet import grid
from dit_toolkit.images import read_npz
from dit_toolkit.progress import log, warn
from dit_toolkit.provenance import provenance
from dit_toolkit.recipe.autoencoder import AnyRecipe, AutoencoderRecipe
from dit_toolkit.recipe.load import dumps
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import split_batch
from dit_toolkit.recipe.structure import unstructure
from dit_toolkit.reconstruction import write_autoencoder
from dit_toolkit.report.folder import report_folder
from dit_toolkit.sampling import Trained, load
from dit_toolkit.training.fit import explaining
from dit_toolkit.training.loop import train as train_steps
from dit_toolkit.weights import newest_checkpoint, refuse_other_shapes

STAGES = ("train", "sample", "evaluate")
"""What is done where nothing is said; "validate" is done where it is asked for."""
FREE = {
    *("max_steps", "log_every", "trackers", "backend", "micro_batch_size"),
    *("checkpoint_every", "checkpoint_keep", "checkpoint_keep_every", "checkpoint_async"),
    *("validate_every", "validate_images", "sample_every", "evaluate_every", "evaluate_samples"),
    *("non_finite", "non_finite_limit", "spike_factor"),
}
"""Options of [train] that may change between a run and its continuation."""


def run(
    recipe: AnyRecipe,
    *,
    name: str,
    out: Path | None = None,
    stages: Sequence[str] = (),
    fresh: bool = False,
    accept_changes: bool = False,
    deadline: float | None = None,
) -> Path:
    """Do the stages of a recipe in `runs/<name>` (or `out`) with all processes; returns the folder.

    What is done already is not done again: training goes on from its newest checkpoint, samples with the same settings
    stay. `fresh` starts over in a new folder. Nothing that exists is overwritten. Without `stages` all that are
    possible are done: a model of latents is trained, but not sampled, where its autoencoder is not to be had. An
    autoencoder is measured and written to the folder `autoencoder` in place of sampling and evaluating. A file `stop`
    in the folder stops it, and so does the time `deadline` of `time.monotonic()`. `accept_changes` goes on in a folder
    whose recipe was another one, as long as the weights fit.

    Raises:
        DataError: data, or an autoencoder that is needed, are not there.
        RecipeError: validation was asked for, and the recipe trains an autoencoder.
        CheckpointError: the folder holds a run of another recipe.
        Interrupted: stopped by a signal, the time or the file; resumable.
    """
    began = time.perf_counter()
    if isinstance(recipe, AutoencoderRecipe) and "validate" in stages:
        raise RecipeError("--stage validate: an autoencoder is measured by --stage sample, on held-out images")
    distributed.initialise()
    if {"train", "validate"} & set(stages) or not stages:
        recipe.dataset.check()
    stages = stages or _possible(recipe)
    with stop.listening(deadline):
        folder = Path(distributed.broadcast(str(_folder(name, out, fresh) if distributed.rank() == 0 else "")))
        files = {
            "recipe.toml": dumps(recipe),
            "provenance.json": json.dumps(provenance(recipe), indent=1),
            "classes.json": json.dumps(list(recipe.dataset.class_names), indent=1),
        }
        split_batch(recipe.train, distributed.size())
        distributed.main_alone(lambda: _claim(folder, recipe, files, accept_changes))
        stop.watch(folder, clear=distributed.rank() == 0)
        distributed.barrier()
        if "train" in stages:
            _train(recipe, folder, files)
        if "validate" in stages and isinstance(recipe, Recipe):
            results = validation.validate(recipe, folder)
            if distributed.rank() == 0:
                _print(validation.table(results))
        if "sample" in stages or "evaluate" in stages:
            if isinstance(recipe, AutoencoderRecipe):
                write_autoencoder(recipe, folder)
            else:
                _sample_and_evaluate(recipe, folder, draw="sample" in stages, judge="evaluate" in stages)
        if distributed.rank() == 0:
            report_folder(folder, recipe)
            log(f"{folder / 'report.html'} shows it all; {time.perf_counter() - began:.0f} s, peak memory {_peak()}")
    return folder


def train(recipe: AnyRecipe, *, out: str | Path = "runs/run") -> Path:
    """Train a recipe in the folder `out`, going on from what is there; returns the folder. See `run`."""
    return run(recipe, name=Path(out).name, out=Path(out), stages=["train"])


def _possible(recipe: AnyRecipe) -> Sequence[str]:
    """All stages, or training alone, with a warning, where there is no autoencoder to decode with.

    It is loaded for that: weeks of training later would be too late to learn of it.
    """
    fault = None
    if isinstance(recipe, Recipe) and recipe.dataset.latents and distributed.rank() == 0:
        try:
            recipe.autoencoder.load()
        except DataError as error:
            fault = error.lines[0]
    fault = distributed.broadcast(fault)
    if fault is None:
        return STAGES
    warn(f"{fault}. Latents can be trained on without it, but no samples will be drawn")
    return ["train"]


def _folder(name: str, out: Path | None, fresh: bool) -> Path:
    """The folder to use: `out` or `runs/<name>`, the newest of its `-2`, `-3`, ... if there are, or the next one."""
    base = out or Path("runs") / name
    number = 1
    while (base if number == 1 else Path(f"{base}-{number}")).exists():
        number += 1
    number = number if fresh else max(1, number - 1)
    return base if number == 1 else Path(f"{base}-{number}")


def _claim(folder: Path, recipe: AnyRecipe, files: dict[str, str], accept_changes: bool) -> None:
    """Write recipe and provenance into the folder; refuse one of another recipe, unless its changes are accepted."""
    stored = folder / "recipe.toml"
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; --out needs a folder")
    begun = f".{stored.name}."  # A start that was killed leaves this much.
    if folder.is_dir() and not stored.exists() and not all(path.name.startswith(begun) for path in folder.iterdir()):
        raise CheckpointError(f"{folder}: is not empty and holds no run; choose another --out")
    if stored.exists() and stored.read_text() != files["recipe.toml"]:
        changes = _changes(tomli.loads(stored.read_text()), unstructure(recipe))
        if changes and not accept_changes:
            raise CheckpointError(
                f"{folder}: holds a run of another recipe; use --fresh for a new folder, or --out, or --accept-changes "
                "to go on all the same. What differs:",
                *changes,
            )
        if changes and (saved := checkpoint.newest(folder / "checkpoints")):
            refuse_other_shapes(saved, recipe)
        for line in changes:
            warn(f"the recipe has changed: {line.strip()}")
        kept = 1
        while (folder / f"recipe-{kept}.toml").exists():
            kept += 1
        shutil.copy2(stored, folder / f"recipe-{kept}.toml")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        for left in folder.glob(f".{name}.*.tmp"):  # Of a start that was killed.
            left.unlink(missing_ok=True)
        write_atomically(folder / name, text)


def _train(recipe: AnyRecipe, folder: Path, files: dict[str, str]) -> None:
    """Train from the newest checkpoint on, if there are steps left; no other command may train in this folder then."""
    with ExitStack() as held, explaining(recipe):
        distributed.main_alone(lambda: held.enter_context(alone(folder)))
        distributed.main_alone(lambda: preflight(recipe, folder, parameters(recipe)))
        newest = distributed.main_alone(lambda: checkpoint.newest(folder / "checkpoints"))
        done = checkpoint.read_manifest(newest)["step"] if newest else 0
        if done >= recipe.train.max_steps:
            log(f"{folder}: already trained for {done} steps")
            return
        train_steps(recipe, folder, files=files, resume=newest)


def _changes(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    """Options that differ and that trained weights depend on, a line each."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        here, before, after = f"{path}.{key}".lstrip("."), old.get(key), new.get(key)
        if (
            here in ("sample", "evaluate", "plugins", "dataset.memory")
            or (path == "train" and key in FREE)
            or before == after
        ):
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            lines += _changes(before, after, here)
        else:
            lines.append(f"  {here}: {before!r} there, {after!r} here")
    return lines


def _sample_and_evaluate(recipe: Recipe, folder: Path, *, draw: bool, judge: bool) -> None:
    """Draw (or find) the samples of the newest weights with the recipe's settings, and judge them."""
    trained = load(distributed.main_alone(lambda: newest_checkpoint(folder)), recipe=recipe, verify=False)
    place, done = distributed.broadcast(_place(folder, trained) if distributed.rank() == 0 else None)
    if not done and not draw:
        raise CheckpointError(f"{folder}: no samples with these settings; add --stage sample")
    if not done:
        place.mkdir(parents=True, exist_ok=True)
        sample(trained, place / "samples.npz")
    distributed.main_alone(lambda: _show_and_judge(recipe, place, judge))


def _show_and_judge(recipe: Recipe, place: Path, judge: bool) -> None:
    """Make the grid and the evaluation of the samples in a folder, where they are not there."""
    images = read_npz(place / "samples.npz")
    facts = json.loads((place / "samples.json").read_text())
    labels = np.asarray(facts["labels"], dtype=np.int64)
    if not (place / "grid.png").exists():
        picture = grid(images, labels, recipe.dataset.class_names, nrow=recipe.sample.grid_columns)
        save_still(place / "grid.png", picture)
        log(f"{place / 'grid.png'} shows {recipe.sample.grid_columns} samples of each class")
    if judge and recipe.evaluate.metrics:
        results = evaluate(images, labels, recipe, facts=facts, device=distributed.device())
        write_atomically(place / "evaluation.json", json.dumps(results.as_dict(), indent=1))
        _print(table(results))


def _place(folder: Path, trained: Trained) -> tuple[Path, bool]:
    """Folder for samples with these settings, and whether they are there."""
    number, name = 1, f"step-{trained.step:08d}"
    wanted = {**describe(trained), "num_samples": trained.recipe.sample.num_samples}
    while True:
        place = folder / "samples" / (name if number == 1 else f"{name}-{number}")
        if not (place / "samples.npz").exists():
            if not begun_with_other_settings(trained, place / "samples.npz"):
                return place, False
        elif {**(facts := json.loads((place / "samples.json").read_text())), **wanted} == facts:
            return place, True
        number += 1


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console(file=sys.stdout).print(renderable)


def _peak() -> str:
    """Peak resident memory of this process."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
