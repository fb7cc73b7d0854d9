"""Memorisation: are the samples new, or copies of the training images?"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit import stop
from dit_toolkit.components import Metric, RealImages
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.imageset import ImageSet
from dit_toolkit.progress import progress

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

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Ratio of the medians, for images of the size of the training images; DataError where there are none."""
        if real.train is None:
            raise DataError("memorisation: needs the training images, which a reference file does not have")
        sets = (samples, real.reference)
        for images in sets:
            if images.images.shape[1:] != real.train.images.shape[1:]:
                seen, other = images.images.shape[1:], real.train.images.shape[1:]
                raise DataError(f"memorisation: images are {seen}, the training images {other}")
        found, heldout = (np.median(_distances(images, real.train)) for images in sets)
        if heldout == 0:
            raise DataError("memorisation: most held-out images are copies of training images")
        return float(found / heldout)


def _distances(images: ImageSet, train: ImageSet) -> np.ndarray:
    """L2 distance (N,) of every image to the nearest training image."""
    return images.once(("nearest", id(train)), lambda whole: nearest(whole, train))


def nearest(images: ImageSet, train: ImageSet) -> np.ndarray:
    """L2 distance (N,) of every image to the nearest of `train`, over all three channels, in grey levels of 255.

    Found by |a - b|^2 = |a|^2 - 2 ab + |b|^2 in float32, block by block, then computed exactly: a copy has distance 0.
    """
    grey = all(each.each("grey", _is_grey, what="colours").all() for each in (images, train))
    channels = 1 if grey else 3
    best, found = np.full(len(images), np.inf, np.float32), np.zeros(len(images))
    with progress("nearest training image", len(train)) as bar:
        for block in train.blocks(BLOCK):
            if stop.requested():
                raise Interrupted(
                    "stopped while the nearest training images were sought; the same command does it again"
                )
            b = _rows(block, channels)
            norms, start = np.einsum("ij,ij->i", b, b), 0
            for part in images.blocks(BLOCK):
                rows, a = slice(start, start + len(part)), _rows(part, channels)
                partial = norms - 2 * (a @ b.T)  # (N, M), lacks |a|^2
                index = partial.argmin(1)
                value = np.take_along_axis(partial, index[:, None], 1)[:, 0]
                closer = value < best[rows]
                best[rows][closer] = value[closer]
                exact = a[closer].astype(np.float64) - b[index[closer]]
                found[rows][closer] = np.linalg.norm(exact, axis=1)
                start += len(part)
            bar.advance(len(block))
    distances: np.ndarray = found * np.sqrt(3 / channels)
    return distances


def _rows(block: np.ndarray, channels: int) -> np.ndarray:
    """The first channels of images (N, H, W, 3) as rows (N, D) of float32."""
    return block[..., :channels].reshape(len(block), -1).astype(np.float32)


def _is_grey(block: np.ndarray) -> np.ndarray:
    """Whether (N,) all channels of each image (N, H, W, 3) are equal."""
    grey: np.ndarray = (block[..., :1] == block[..., 1:]).all((1, 2, 3))
    return grey
