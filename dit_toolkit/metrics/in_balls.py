"""What precision, recall, density and coverage share: the mean of something about the balls round images."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit.components import RealImages
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.neighbours import Balls, balls
from dit_toolkit.metrics.on_features import OnFeatures, error_of_mean


@frozen(kw_only=True)
class InBalls(OnFeatures):
    """The mean, over samples or over reference images, of what the balls say of each."""

    higher_is_better = True
    floor = "train"
    by_number = True
    k: int = field(default=3, validator=ge(1))
    """A ball reaches to the k-th nearest neighbour in its own set."""

    @abstractmethod
    def each(self, found: Balls) -> np.ndarray:
        """What counts of each sample (N,), or of each reference image (M,)."""

    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """The mean; DataError for sets of at most k images."""
        return float(self._found(samples, real).mean())

    def error(self, samples: ImageSet, real: RealImages) -> float | None:
        """Standard error of the mean, given the balls."""
        return error_of_mean(self._found(samples, real))

    def _found(self, samples: ImageSet, real: RealImages) -> np.ndarray:
        return self.each(balls(samples, real.reference, self.extractor, self.k))
