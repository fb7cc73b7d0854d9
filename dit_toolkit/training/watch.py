"""Looks at a model while it is trained: its loss on held-out images and its samples. Training does not notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from dit_toolkit import distributed
from dit_toolkit.engine import Engine
from dit_toolkit.errors import DataError
from dit_toolkit.progress import warn
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.training.drawing import Drawing
from dit_toolkit.training.ema import EMA
from dit_toolkit.training.heldout import HeldOut
from dit_toolkit.training.judging import Judge
from dit_toolkit.training.lockstep import Stopped
from dit_toolkit.training.pictures import Pictures
from dit_toolkit.training.state import Log


class Watch:
    """Validates every `train.validate_every`, draws every `train.sample_every` and evaluates every
    `train.evaluate_every` steps, and each after the last.

    The averaged weights take the place of the engine's for that time, and come back to the bit: average and master
    weights are exchanged, and then made the weights of the forward pass as an optimizer step does. That takes no
    memory for a second model, and works however the weights are spread over the processes.

    Raises:
        DataError: there is no held-out split, or there are no images to compare with.
        RecipeError: it is to be evaluated, and the recipe has no metrics.
        CheckpointError: the guide that the recipe names is not there.
    """

    def __init__(self, recipe: AnyRecipe, folder: Path, engine: Engine, ema: EMA, device: str) -> None:
        settings = recipe.train
        self.engine, self.ema, self.last = engine, ema, settings.max_steps
        self.cut = False
        self.held_out = self.pictures = self.judge = None
        if isinstance(recipe, Recipe):  # That of an autoencoder has none of these options.
            drawing = _drawing(recipe, engine, device) if settings.sample_every or settings.evaluate_every else None
            self.held_out = HeldOut(recipe, device) if settings.validate_every else None
            self.pictures = Pictures(recipe, folder, drawing) if settings.sample_every and drawing else None
            self.judge = Judge(recipe, drawing, device) if settings.evaluate_every and drawing else None
        self.validate_every = settings.validate_every
        self.sample_every = settings.sample_every if self.pictures else 0
        self.evaluate_every = settings.evaluate_every if self.judge else 0

    def due(self, step: int) -> bool:
        """Whether there is something to look at after a step."""
        return any(self._falls(step, every) for every in (self.validate_every, self.sample_every, self.evaluate_every))

    def __call__(self, step: int, log: Log) -> dict[str, float]:
        """Look, where it is due; returns held-out loss and metrics by name.

        Where a signal asks to stop it returns nothing, and `cut` is set: look again after resuming from this step.
        """
        found: dict[str, float] = {}
        self.cut = False
        if not self.due(step):
            return found
        held_out = self.held_out if self._falls(step, self.validate_every) else None
        pictures = self.pictures if self._falls(step, self.sample_every) else None
        if pictures:
            with self._stoppable():
                _draw(pictures, step, "raw", log)
        with self.ema.running(self.engine), self._stoppable():
            if held_out:
                found = held_out.loss(self.engine.infer).as_dict()
            if pictures:
                _draw(pictures, step, "ema", log)
            if self.judge and self._falls(step, self.evaluate_every):
                found |= self.judge()
        return found

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """End at a stop, on all processes alike; an average that is running must come back."""
        try:
            yield
        except Stopped:
            self.cut = True

    def _falls(self, step: int, every: int) -> bool:
        return every > 0 and (step % every == 0 or step == self.last)


def _draw(pictures: Pictures, step: int, weights: Literal["ema", "raw"], log: Log) -> None:
    """Draw a picture; a disk that does not take it is a warning, and no reason to end a training."""
    try:
        path = pictures.draw(step, weights)
    except OSError as error:
        warn(f"the samples of step {step} cannot be written: {error}")
    else:
        log.picture(step, f"samples/{weights}", path)


def _drawing(recipe: Recipe, engine: Engine, device: str) -> Drawing | None:
    """Prepare it on every process, or none, with a warning, where one of them has no autoencoder to decode with."""
    drawing, fault = None, None
    try:
        drawing = Drawing(recipe, engine.infer, device)
    except DataError as error:
        fault = error.lines[0]
    if faults := [found for found in distributed.gather(fault) if found]:
        warn(
            f"{faults[0]}. Latents can be trained on without it, but train.sample_every and train.evaluate_every draw "
            "nothing"
        )
        return None
    return drawing
