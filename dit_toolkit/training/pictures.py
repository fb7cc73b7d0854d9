"""Grids of samples in the midst of training: the same noise every time, so that one sees the same images grow."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs
import numpy as np
import torch

from dit_toolkit import distributed
from dit_toolkit.grids.sheet import grid
from dit_toolkit.images import to_uint8
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.sampling import Network, Trained
from dit_toolkit.training.lockstep import lockstep

CLASSES, COLUMNS = 10, 4
"""Rows and images of a grid; of more classes, or labels in [sample], as many spread over all."""
FOLDER = "samples/during"


class Pictures:
    """Draws with a network in training by the recipe's [sample]: guidance, sampler and seed, not precision and number.

    Raises:
        DataError: the autoencoder is not there.
        CheckpointError: the guide that the recipe names is not.
    """

    def __init__(self, recipe: Recipe, folder: Path, network: Network, device: str) -> None:
        self.folder, self.device, self.latent = folder / FOLDER, device, sizes(recipe).latent
        classes = np.array(recipe.sample.labels or range(recipe.model.num_classes))
        chosen = classes[np.arange(min(CLASSES, len(classes))) * len(classes) // min(CLASSES, len(classes))]
        self.labels = np.repeat(np.unique(chosen), COLUMNS)
        one_by_one = attrs.evolve(recipe.sample, decode_batch_size=1)  # Beside the state of training is little room.
        self.trained = Trained(
            recipe=attrs.evolve(recipe, sample=one_by_one),
            model=network,
            codec=recipe.autoencoder.load(device),
            step=0,
            weights="",
            digest="",
            device=device,
        )
        self.guide = self.trained.guide if recipe.sample.cfg_scale != 1 else None

    def draw(self, step: int, weights: Literal["ema", "raw"]) -> Path:
        """Draw with what the network holds now, each process its share, into a PNG of its own; returns its path.

        Raises:
            Stopped: a signal asked to stop.
            OSError: the picture cannot be written.
        """
        mine = np.arange(distributed.rank(), len(self.labels), distributed.size())
        size = self.trained.recipe.sample.batch_size
        images = []
        with lockstep(self.trained.model, self.latent, self.device) as run:
            trained = attrs.evolve(self.trained, model=run)
            for index in np.split(mine, range(size, len(mine), size)):
                if len(index):
                    drawn = trained.sample(self.labels[index], index=index, guide=self.guide)  # (n, C, H, W)
                    images.append(to_uint8(torch.nan_to_num(drawn, nan=-1.0).cpu()))
        path = self.folder / f"step-{step:08d}-{weights}.png"
        parts = distributed.gather(np.concatenate(images) if images else None)
        if distributed.rank() == 0:
            whole = np.empty((len(self.labels), *parts[0].shape[1:]), np.uint8)
            for rank, part in enumerate(parts):
                if part is not None:
                    whole[rank :: distributed.size()] = part
            picture = grid(whole, self.labels, self.trained.recipe.dataset.class_names, nrow=COLUMNS)
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}")
            picture.save(temporary, format="png")
            temporary.replace(path)
        return path
