"""The loss on held-out images, with as little noise as can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from attrs import frozen

from dit_toolkit import distributed, watchdog
from dit_toolkit.errors import DataError
from dit_toolkit.random import Generator
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.sampling import Network
from dit_toolkit.training.data import open_data
from dit_toolkit.training.lockstep import lockstep

TIMES = tuple((2 * k + 1) / 16 for k in range(8))
"""On the objective's clock, 0 (data) to 1 (noise): the middles of eight equal parts."""
BATCH = 32
"""Images per forward pass, whatever the number of processes, so that the same sums round the same."""
SEED = 0
"""Of the noise, for every run: those of different seeds can be compared."""


@frozen(kw_only=True)
class HeldOutLoss:
    """What a network did on held-out images."""

    by_time: dict[float, float]
    """Mean loss over the images at each of `TIMES`."""
    images: int

    @property
    def mean(self) -> float:
        """Over the times."""
        return sum(self.by_time.values()) / len(self.by_time)

    def as_dict(self) -> dict[str, float]:
        """Flat, under the names that metrics.jsonl has."""
        return {"val_loss": self.mean, **{f"val_loss/{t}": loss for t, loss in self.by_time.items()}}


class HeldOut:
    """Held-out images of a recipe, spread evenly over the split, with their classes and with noise that is fixed.

    What it finds is a function of the weights alone: no label is dropped, no image mirrored, a posterior gives its
    mode, and every image is seen at all of `TIMES`, each with noise that follows from the number of the image.

    Raises:
        DataError: there is no held-out split, or it cannot be read.
    """

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe, self.device = recipe, device
        self.split, self.encode = open_data(recipe, "val", device)
        if not len(self.split):
            raise DataError(
                f"dataset: {recipe.dataset.kind!r} holds out no images here, so there is nothing to validate on"
            )
        count = min(recipe.train.validate_images, len(self.split))
        self.items = np.arange(count) * len(self.split) // count

    def loss(
        self, network: Network, *, progress: Callable[[list[np.ndarray]], Iterable[np.ndarray]] = iter
    ) -> HeldOutLoss:
        """Compute the loss of a network, which keeps nothing for gradients, with all processes.

        Args:
            progress: goes through this process's batches, showing how far it is.

        Raises:
            Stopped: a signal asked to stop.
        """
        batches = np.split(self.items, range(BATCH, len(self.items), BATCH))
        mine = batches[distributed.rank() :: distributed.size()]
        with lockstep(network, sizes(self.recipe).latent, self.device) as run:
            found = [self._losses(run, batch) for batch in progress(mine)]
        losses = np.empty((len(self.items), len(TIMES)))
        for rank, theirs in enumerate(distributed.gather(found)):
            for number, rows in enumerate(theirs):
                first = BATCH * (rank + number * distributed.size())
                losses[first : first + len(rows)] = rows
        by_time: Any = losses.mean(0).tolist()
        return HeldOutLoss(by_time=dict(zip(TIMES, by_time, strict=True)), images=len(self.items))

    def _losses(self, network: Network, items: np.ndarray) -> np.ndarray:
        """Loss (n, times) of items (n,)."""
        x, y = self.split.batch(items)
        x0, y = self.encode(x.to(self.device), None), y.to(self.device)  # (n, C, H, W), (n,)
        generator = Generator(SEED, "validate", items, self.device)
        columns = []
        for time in TIMES:
            noise = generator.randn_like(x0)  # (n, C, H, W)
            t = torch.full((len(items),), time, dtype=torch.float64)  # (n,)
            columns.append(self.recipe.objective.loss(network, x0, y, noise=noise, t=t))  # (n,)
            watchdog.beat()
        return torch.stack(columns, 1).double().cpu().numpy()  # (n, times)
