"""Which images make up a step: a pure function of the seed and the position, on any number of processes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from dit_toolkit.random import Generator


class Order:
    """Endless shuffled epochs over `length` items; position p is item p % length of epoch p // length."""

    def __init__(self, seed: int, length: int) -> None:
        self.length = length
        self._epoch = lru_cache(maxsize=2)(
            lambda epoch: np.argsort(Generator(seed, f"order {epoch}", range(length)).rand().numpy(), kind="stable")
        )

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Indices (N,) of the items at positions (N,)."""
        items = np.empty_like(positions)
        for epoch in np.unique(positions // self.length):
            here = positions // self.length == epoch
            items[here] = self._epoch(int(epoch))[positions[here] % self.length]
        return items


def drop_labels(y: torch.Tensor, probability: float, null: int, generator: Generator) -> torch.Tensor:
    """Replace labels (N,) by the null class with the given probability; the only place where labels are dropped."""
    if probability == 0:
        return y
    return torch.where(generator.rand().to(y.device) < probability, torch.full_like(y, null), y)
