"""Frechet distance (Dowson and Landau 1982) in the features of any extractor. Only on Inception-v3 it is called FID."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit.components import Extractor, Metric, RealImages
from dit_toolkit.imageset import ImageSet, Moments


@frozen(kw_only=True)
class FrechetDistance(Metric):
    """Frechet distance between samples and the reference, as Gaussians of an extractor's features.

    It falls with the number of samples, also for perfect ones: compare it with its floor, or with values of as many
    samples. It is named after the extractor, `fd-fashion`, because values in different features never compare.
    """

    kind = "frechet-distance"
    higher_is_better = False
    floor = "train"
    zero_on = "reference"
    symmetric = True
    extractor: Extractor

    @property
    def name(self) -> str:
        """After the extractor: `fd-fashion`."""
        return f"fd-{self.extractor.name}"

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Distance >= 0; labels do not matter."""
        return frechet_distance(samples.moments(self.extractor), real.reference.moments(self.extractor))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), float64.

    The trace of the root is that of (r cov_a r)^(1/2) with r = cov_b^(1/2): symmetric, so `eigh` gives it without the
    complex parts that `sqrtm` has on covariances of less than full rank.
    """
    product = np.linalg.eigvalsh(b.root @ a.covariance @ b.root)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(np.clip(product, 0, None)).sum()
    return max(0.0, float(((a.mean - b.mean) ** 2).sum() + trace))
