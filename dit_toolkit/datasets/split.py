"""Which items of a dataset without a val split of its own are held out."""

from __future__ import annotations

import numpy as np


def held_out(labels: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """Mask (len,) of the val split: of every class the same share, rounded, with the smallest random keys.

    The keys are raw Philox words, which numpy promises not to change; its shuffles carry no such promise.
    """
    keys = np.random.Philox(seed).random_raw(len(labels))
    order = np.lexsort((keys, labels))  # by class, and within a class by key
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    mask = np.zeros(len(labels), bool)
    mask[order[rank < np.rint(sizes * fraction)[labels[order]]]] = True
    return mask
