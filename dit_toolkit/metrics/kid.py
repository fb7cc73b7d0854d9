"""KID (Binkowski et al. 2018): squared maximum mean discrepancy with a cubic kernel, which has no bias."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit import stop
from dit_toolkit.components import RealImages
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.on_features import OnFeatures
from dit_toolkit.progress import track


class Discrepancy(NamedTuple):
    """Squared maximum mean discrepancy of two sets, and what the samples do to it."""

    value: float
    variance: float
    """Of twice the mean difference of a sample's kernels with other samples and with the reference, over samples."""


@frozen(kw_only=True)
class KID(OnFeatures):
    """Mean of the unbiased discrepancies of random subsets, with the kernel (x'y / D + 1)^3 of D features.

    Its expectation does not depend on the number of samples, so small sets can be compared with large ones. That is
    0 for perfect samples, whose value may so be negative.
    """

    kind = "kid"
    higher_is_better = False
    floor = "train"
    subsets: int = field(default=100, validator=ge(1))
    subset_size: int = field(default=1_000, validator=ge(2))
    """Images drawn from each set, without replacement; the whole of a set that has fewer."""

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Mean over the subsets; DataError for a set of one image."""
        return float(np.mean([found.value for found in self._found(samples, real)]))

    def error(self, samples: ImageSet, real: RealImages) -> float | None:
        """Standard error because of the samples, whose influence the subsets estimate, and because of the drawing."""
        found = self._found(samples, real)
        drawing = np.var([each.value for each in found], ddof=1) / len(found) if len(found) > 1 else 0.0
        return math.sqrt(np.mean([each.variance for each in found]) / len(samples) + drawing)

    def _found(self, samples: ImageSet, real: RealImages) -> list[Discrepancy]:
        key = (self.kind, real.reference, self.extractor.fingerprint(), self.subsets, self.subset_size)
        return samples.fact(key, lambda: self._find(samples, real.reference))

    def _find(self, samples: ImageSet, reference: ImageSet) -> list[Discrepancy]:
        x, y = (images.seen(self.extractor) for images in (samples, reference))
        if min(len(x), len(y)) < 2:
            raise DataError(f"{self.name}: {len(x)} samples and {len(y)} reference images; two of each are the least")
        whole = self.subset_size >= max(len(x), len(y))
        found = []
        for subset in track(range(1 if whole else self.subsets), "subsets of images"):
            if stop.requested():
                raise Interrupted("stopped while subsets of images were compared; the same command does it again")
            parts = (values[draw(subset, side, len(values), self.subset_size)] for side, values in enumerate((x, y)))
            found.append(discrepancy(*parts))
        return found


def draw(subset: int, side: int, count: int, size: int) -> np.ndarray:
    """Indices of a random subset of `count` images, in order: those of the smallest words of a Philox generator."""
    words = np.random.Philox(key=[subset, side]).random_raw(count)
    return np.sort(words.argsort(kind="stable")[:size])


def discrepancy(x: np.ndarray, y: np.ndarray) -> Discrepancy:
    """Unbiased squared maximum mean discrepancy of features x (M, D) and y (N, D) (Gretton et al. 2012, equation 3)."""
    size = len(x) - 1
    within, other, across = _kernel(x, x), _kernel(y, y), _kernel(x, y)  # (M, M), (N, N), (M, N)
    among = (_sum(within) - within.diagonal()) / size  # (M,)
    between = _sum(across) / len(y)  # (M,)
    others = (_sum(other) - other.diagonal()) / (len(y) - 1)  # (N,)
    value = among.mean() + others.mean() - 2 * between.mean()
    return Discrepancy(float(value), 4 * float((among - between).var(ddof=1)))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x'y / D + 1)^3 - 1: without the constant, which cancels, it is exact to float32 where it is small."""
    z = x @ y.T / x.shape[1]
    kernel: np.ndarray = ((z + 3) * z + 3) * z
    return kernel


def _sum(kernel: np.ndarray) -> np.ndarray:
    """Of each row, in float64."""
    found: np.ndarray = kernel.sum(1, dtype=np.float64)
    return found
