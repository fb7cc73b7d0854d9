"""Improved recall (Kynkaanniemi et al. 2019): how much of the reference do the samples reach?"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit.components import RealImages
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.neighbours import balls
from dit_toolkit.metrics.on_features import OnFeatures, error_of_mean


@frozen(kw_only=True)
class Recall(OnFeatures):
    """Share of the reference images that lie in a ball round a sample.

    Samples far from everything have large balls and may reach much: read it beside precision. Compare values of equal
    numbers of samples only.
    """

    kind = "recall"
    higher_is_better = True
    floor = "train"
    by_number = True
    k: int = field(default=3, validator=ge(1))
    """A ball reaches to the k-th nearest neighbour in its own set."""

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Share in [0, 1]; DataError for sets of at most k images."""
        return float(self._each(samples, real).mean())

    def error(self, samples: ImageSet, real: RealImages) -> float | None:
        """Standard error of the mean over the reference images, given the balls."""
        return error_of_mean(self._each(samples, real))

    def _each(self, samples: ImageSet, real: RealImages) -> np.ndarray:
        """Whether each reference image (M,) lies in a ball."""
        return balls(samples, real.reference, self.extractor, self.k).reference > 0
