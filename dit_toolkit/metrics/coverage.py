"""Coverage (Naeem et al. 2020): near how many of the reference images is there a sample?"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit.components import RealImages
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.neighbours import balls
from dit_toolkit.metrics.on_features import OnFeatures, error_of_mean


@frozen(kw_only=True)
class Coverage(OnFeatures):
    """Share of the balls round reference images that hold a sample: recall that broken samples cannot raise.

    Perfect samples, as many as the reference, have 1 - 2^-k, about 0.97 for k = 5; it rises with their number.
    """

    kind = "coverage"
    higher_is_better = True
    floor = "train"
    by_number = True
    k: int = field(default=5, validator=ge(1))
    """A ball reaches to the k-th nearest neighbour in its own set."""

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Share in [0, 1]; DataError for sets of at most k images."""
        return float(self._each(samples, real).mean())

    def error(self, samples: ImageSet, real: RealImages) -> float | None:
        """Standard error of the mean over the reference images, given the balls."""
        return error_of_mean(self._each(samples, real))

    def _each(self, samples: ImageSet, real: RealImages) -> np.ndarray:
        """Whether the ball of each reference image (M,) holds a sample."""
        return balls(samples, real.reference, self.extractor, self.k).covered
