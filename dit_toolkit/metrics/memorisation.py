"""Memorisation: are the samples new, or copies of the training images?"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit.components import Metric, RealImages
from dit_toolkit.errors import DataError

BLOCK = 2_048


@frozen(kw_only=True)
class Memorisation(Metric):
    """Median distance of a sample to its nearest training image, relative to that of the held-out images.

    Distances are L2 over pixels. 1 = as far from the training images as unseen real images are, 0 = copies; blurred or
    broken samples move it too, so read it beside the other metrics.
    """

    kind = "memorisation"
    higher_is_better = None
    unit = "ratio"
    zero_on = "train"

    def compute(self, images: np.ndarray, labels: np.ndarray, real: RealImages) -> float:  # noqa: ARG002
        """Ratio of the medians for `images` uint8 (N, H, W, 3), of the size of the real ones, whatever their labels."""
        if images.shape[1:] != real.train.shape[1:]:
            raise DataError(f"memorisation: images are {images.shape[1:]}, the training images {real.train.shape[1:]}")
        # Three equal channels multiply every distance by the same factor, which the ratio cancels.
        channels = 1 if all(_is_grey(x) for x in (images, real.train, real.heldout)) else 3
        train = real.train[..., :channels]
        samples, heldout = (np.median(nearest(x[..., :channels], train)) for x in (images, real.heldout))
        if heldout == 0:
            raise DataError("memorisation: most held-out images are copies of training images")
        return float(samples / heldout)


def nearest(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    """L2 distance (N,) of every image to the nearest of `train`, both uint8 (_, H, W, C), in grey levels of 255.

    Found by |a - b|^2 = |a|^2 - 2 ab + |b|^2 in float32, block by block, then computed exactly: a copy has distance 0.
    """
    a, b = images.reshape(len(images), -1), train.reshape(len(train), -1)
    best, found = np.full(len(a), np.inf, np.float32), np.zeros(len(a), np.int64)
    for start in range(0, len(b), BLOCK):
        part = b[start : start + BLOCK].astype(np.float32)  # (M, H W C)
        norms = np.einsum("ij,ij->i", part, part)
        for row in range(0, len(a), BLOCK):
            rows = slice(row, row + BLOCK)
            partial = norms - 2 * (a[rows].astype(np.float32) @ part.T)  # (N, M), lacks |a|^2
            index = partial.argmin(1)
            value = np.take_along_axis(partial, index[:, None], 1)[:, 0]
            closer = value < best[rows]
            best[rows][closer], found[rows][closer] = value[closer], start + index[closer]
    return np.array([np.linalg.norm(x.astype(np.float64) - b[i]) for x, i in zip(a, found, strict=True)])


def _is_grey(images: np.ndarray) -> bool:
    """Whether all channels of `images` (N, H, W, 3) are equal."""
    return bool((images[..., :1] == images[..., 1:]).all())
