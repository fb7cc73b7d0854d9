"""Density (Naeem et al. 2020): how thickly do samples lie where the reference does?"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit.components import RealImages
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.neighbours import balls
from dit_toolkit.metrics.on_features import OnFeatures, error_of_mean


@frozen(kw_only=True)
class Density(OnFeatures):
    """Mean number of balls round reference images in which a sample lies, by k: precision that an outlier cannot raise.

    It is about 1 for perfect samples, and more where samples keep to where real images are dense.
    """

    kind = "density"
    higher_is_better = True
    floor = "train"
    by_number = True
    k: int = field(default=5, validator=ge(1))
    """A ball reaches to the k-th nearest neighbour in its own set."""

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Mean >= 0; DataError for sets of at most k images."""
        return float(self._each(samples, real).mean())

    def error(self, samples: ImageSet, real: RealImages) -> float | None:
        """Standard error of the mean over the samples, given the balls."""
        return error_of_mean(self._each(samples, real))

    def _each(self, samples: ImageSet, real: RealImages) -> np.ndarray:
        """Balls in which each sample (N,) lies, by k."""
        return balls(samples, real.reference, self.extractor, self.k).samples / self.k
