"""Density (Naeem et al. 2020): how thickly do samples lie where the reference does?"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit.metrics.in_balls import InBalls
from dit_toolkit.metrics.neighbours import Balls


@frozen(kw_only=True)
class Density(InBalls):
    """Mean number of balls round reference images in which a sample lies, by k: precision that an outlier cannot raise.

    It is about 1 for perfect samples, and more where samples keep to where real images are dense.
    """

    kind = "density"
    k: int = field(default=5, validator=ge(1))
    """A ball reaches to the k-th nearest neighbour in its own set."""

    def each(self, found: Balls) -> np.ndarray:
        """Balls in which each sample (N,) lies, by k."""
        return found.samples / self.k
