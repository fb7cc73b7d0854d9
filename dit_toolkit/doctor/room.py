"""Whether a recipe has room: on the disk for its checkpoints, in memory for the state of its model."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dit_toolkit.checkpoint import checkpoints
from dit_toolkit.doctor.finding import Finding, gib
from dit_toolkit.doctor.machine import locks
from dit_toolkit.errors import StorageError
from dit_toolkit.flops.costs import Costs
from dit_toolkit.flops.state import checkpoint_size, memory, state_options, zero_stage
from dit_toolkit.progress import warn
from dit_toolkit.recipe.autoencoder import AnyRecipe


def room(recipe: AnyRecipe, folder: Path, costs: Costs, processes: int, free: int) -> Iterator[Finding]:
    """Look at disk and memory.

    Args:
        folder: that of the run, which need not be there.
        costs: of the recipe.
        free: bytes of memory that each process may take.
    """
    yield writable(folder)
    yield disk(recipe, folder, costs.trainable)
    stage, found = zero_stage(recipe), memory(costs.trainable, world=processes, **state_options(recipe, costs))
    states = {number: state.device for number, state in found.items()}
    seen = f"{gib(states[stage])} of model state on each of {processes} process(es), {gib(free)} free"
    if states[stage] > free:
        fitting = [other for other in states if other > stage and states[other] < free]
        advice = f"train.backend.zero_stage = {fitting[0]}" if fitting else "more processes, or a smaller model"
        yield Finding("fail", "memory", seen, advice)
    else:
        yield Finding("ok", "memory", seen)


def disk(recipe: AnyRecipe, folder: Path, parameters: int) -> Finding:
    """Whether the checkpoints that are kept, and the one being written, fit beside what is there."""
    train = recipe.train
    size, keep = checkpoint_size(parameters, averages=len(train.averages)), train.checkpoint_keep
    there = min(len(checkpoints(folder / "checkpoints")), keep)
    free = shutil.disk_usage(_existing(folder)).free
    seen = f"{gib(size)} a checkpoint, {keep + 1 - there} to come at once, {gib(free)} free"
    if free < size * (keep + 1 - there):
        return Finding("fail", "disk", seen, "make room, choose another --out, or lower train.checkpoint_keep")
    return Finding("ok", "disk", seen)


def writable(folder: Path) -> Finding:
    """Whether files can be made in the run folder, or where it is to be."""
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding("fail", "writing", f"{place}: {os.strerror(error.errno or 0)}", "choose another --out")
    return Finding("ok", "writing", str(place))


def preflight(recipe: AnyRecipe, folder: Path, parameters: int) -> None:
    """Look before training at what would stop it later: a warning for each lock, StorageError without room to save."""
    for finding in locks():
        if finding.state != "ok":
            warn(f"{finding.what}: {finding.seen}; {finding.advice}")
    for finding in (writable(folder), disk(recipe, folder, parameters)):
        if finding.state == "fail":
            raise StorageError(f"{folder}: {finding.what}: {finding.seen}; {finding.advice}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
