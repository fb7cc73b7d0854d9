"""Samples of a network in training, which all processes draw together."""

from __future__ import annotations

import attrs
import numpy as np
import torch

from dit_toolkit import distributed
from dit_toolkit.images import to_uint8
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.sampling import Network, Trained
from dit_toolkit.training.lockstep import lockstep


class Drawing:
    """Draws by the recipe's [sample]: guidance, sampler and seed, not precision and number.

    Raises:
        DataError: the autoencoder is not there.
        CheckpointError: the guide that the recipe names is not.
    """

    def __init__(self, recipe: Recipe, network: Network, device: str) -> None:
        self.latent, self.device = sizes(recipe).latent, device
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

    def draw(self, labels: np.ndarray) -> np.ndarray | None:
        """Draw samples 0, 1, ... of classes (N,) with what the network holds now, each process its share.

        Returns:
            uint8 (N, H, W, 3) on rank 0, None elsewhere.

        Raises:
            Stopped: a signal asked to stop.
        """
        mine = np.arange(distributed.rank(), len(labels), distributed.size())
        size = self.trained.recipe.sample.batch_size
        images = []
        with lockstep(self.trained.model, self.latent, self.device) as run:
            trained = attrs.evolve(self.trained, model=run)
            for index in np.split(mine, range(size, len(mine), size)):
                if len(index):
                    drawn = trained.sample(labels[index], index=index, guide=self.guide)  # (n, C, H, W)
                    images.append(to_uint8(torch.nan_to_num(drawn, nan=-1.0).cpu()))
        parts = distributed.gather(np.concatenate(images) if images else None)
        if distributed.rank() > 0:
            return None
        whole = np.empty((len(labels), *parts[0].shape[1:]), np.uint8)
        for rank, part in enumerate(parts):
            if part is not None:
                whole[rank :: distributed.size()] = part
        return whole
