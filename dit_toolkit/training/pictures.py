"""Grids of samples in the midst of training: the same noise every time, so that one sees the same images grow."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from dit_toolkit.grids.saving import save_still
from dit_toolkit.grids.sheet import grid
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.training.drawing import Drawing

CLASSES, COLUMNS = 10, 4
"""Rows and images of a grid; of more classes, or labels in [sample], as many spread over all."""
FOLDER = "samples/during"


class Pictures:
    """Puts samples of some classes into a picture for each look."""

    def __init__(self, recipe: Recipe, folder: Path, drawing: Drawing) -> None:
        self.folder, self.drawing, self.class_names = folder / FOLDER, drawing, recipe.dataset.class_names
        classes = np.array(recipe.sample.labels or range(recipe.model.num_classes))
        chosen = classes[np.arange(min(CLASSES, len(classes))) * len(classes) // min(CLASSES, len(classes))]
        self.labels = np.repeat(np.unique(chosen), COLUMNS)

    def draw(self, step: int, weights: Literal["ema", "raw"]) -> Path:
        """Draw with what the network holds now into a PNG of its own; returns its path.

        Raises:
            Stopped: a signal asked to stop.
            OSError: the picture cannot be written.
        """
        path = self.folder / f"step-{step:08d}-{weights}.png"
        images = self.drawing.draw(self.labels)
        if images is not None:
            picture = grid(images, self.labels, self.class_names, nrow=COLUMNS)
            self.folder.mkdir(parents=True, exist_ok=True)
            save_still(path, picture)
        return path
