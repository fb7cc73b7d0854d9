"""Judges samples in the midst of training by the recipe's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dit_toolkit import distributed
from dit_toolkit.errors import Interrupted, RecipeError
from dit_toolkit.evaluation import real_of
from dit_toolkit.imageset import ImageSet
from dit_toolkit.sampling import labels_of
from dit_toolkit.training.drawing import Drawing
from dit_toolkit.training.lockstep import Stopped

if TYPE_CHECKING:
    from dit_toolkit.components import RealImages
    from dit_toolkit.recipe.schema import Recipe


class Judge:
    """Draws `train.evaluate_samples` samples with a network in training and computes the metrics of [evaluate].

    Raises:
        DataError: there are no images to compare with.
        RecipeError: the recipe has no metrics.
    """

    def __init__(self, recipe: Recipe, drawing: Drawing, device: str) -> None:
        if not recipe.evaluate.metrics:
            raise RecipeError("train.evaluate_every: evaluate.metrics has none; name one, or leave it out")
        self.metrics, self.drawing, self.device = recipe.evaluate.metrics, drawing, device
        self.labels = labels_of(recipe, recipe.train.evaluate_samples)
        self.real: RealImages | None = None
        distributed.main_alone(lambda: self._open(recipe))

    def _open(self, recipe: Recipe) -> None:
        self.real, _ = real_of(recipe, self.device)

    def __call__(self) -> dict[str, float]:
        """Values by `eval/<name of the metric>`, of what the network holds now; the same on all processes.

        Raises:
            Stopped: a signal asked to stop.
            DataError: a metric does not fit the samples.
        """
        images = self.drawing.draw(self.labels)
        values = distributed.main_alone(lambda: self._values(images))
        if values is None:
            raise Stopped
        return values

    def _values(self, images: np.ndarray | None) -> dict[str, float] | None:
        """The values, None where a signal asks to stop."""
        if images is None or self.real is None:
            return {}
        samples = ImageSet(images, self.labels, device=self.device)
        try:
            return {f"eval/{metric.name}": metric.compute(samples, self.real) for metric in self.metrics}
        except Interrupted:
            return None
