"""Frechet distance (Dowson and Landau 1982) in the features of any extractor. Only on Inception-v3 it is called FID."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from dit_toolkit.components import Extractor, Metric, RealImages
from dit_toolkit.errors import DataError
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.on_features import error_of_mean
from dit_toolkit.moments import ROWS, Moments


@frozen(kw_only=True)
class FrechetDistance(Metric):
    """Frechet distance between samples and the reference, as Gaussians of an extractor's features.

    It falls with the number of samples, also for perfect ones: compare it with its floor, or with values of as many
    samples. It is named after the extractor, `fd-fashion`, because values in different features never compare.
    """

    kind = "frechet-distance"
    higher_is_better = False
    floor = "train"
    by_number = True
    zero_on = "reference"
    symmetric = True
    output: ClassVar[str] = "features"
    """What of the extractor is compared."""
    extractor: Extractor

    @property
    def name(self) -> str:
        """After the extractor: `fd-fashion`."""
        return f"fd-{self.extractor.name}"

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Distance >= 0; labels do not matter. DataError for a set of one image, which has no covariance."""
        return frechet_distance(*(self._moments(images) for images in (samples, real.reference)))

    def error(self, samples: ImageSet, real: RealImages) -> float | None:
        """Standard error because of the samples, by the delta method: see `influence`.

        The grouped jackknife needs ten roots and agrees with it.
        """
        a, b = self._moments(samples), self._moments(real.reference)
        return error_of_mean(influence(samples.seen(self.extractor, self.output), a, b))

    def _moments(self, images: ImageSet) -> Moments:
        moments = images.moments(self.extractor, self.output)
        if moments.count == 1:
            raise DataError(f"{self.name}: {images.name}: one image has no covariance; two are the least")
        return moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), float64.

    The trace of the root is that of (r cov_a r)^(1/2) with r = cov_b^(1/2): symmetric, so `eigh` gives it without the
    complex parts that `sqrtm` has on covariances of less than full rank.
    """
    product = np.linalg.eigvalsh(b.root @ a.covariance @ b.root)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(np.clip(product, 0, None)).sum()
    return max(0.0, float(((a.mean - b.mean) ** 2).sum() + trace))


def influence(values: np.ndarray, a: Moments, b: Moments) -> np.ndarray:
    """How much each of the values (N, D), of moments a, moves the distance to b: its derivative by their weights, (N,).

    That of x is 2 (mean_a - mean_b)' c + c' (I - T) c and a constant, with c = x - mean_a and the optimal transport
    T = r (r cov_a r)^(-1/2) r, r = cov_b^(1/2), between the Gaussians (Rippl, Munk and Sturm 2016, theorem 2.2). The
    standard error is that of its mean. All x lie where cov_a is not singular, so the pseudo-inverse loses nothing.
    """
    roots, vectors = np.linalg.eigh(b.root @ a.covariance @ b.root)
    kept = roots > roots[-1] * len(roots) * np.finfo(np.float64).eps
    half = b.root @ vectors[:, kept] / roots[kept] ** 0.25  # (D, R), T = half half'
    slope = (np.eye(len(half)) - half @ half.T).astype(np.float32)  # (D, D)
    shift, found = 2 * (a.mean - b.mean), np.empty(len(values))
    for start in range(0, len(values), ROWS):
        centred = (values[start : start + ROWS] - a.mean).astype(np.float32)  # (n, D)
        square = np.einsum("nd,nd->n", centred @ slope, centred, dtype=np.float64)
        found[start : start + ROWS] = square + centred @ shift
    return found
