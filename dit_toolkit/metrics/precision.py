"""Improved precision (Kynkaanniemi et al. 2019): how many samples look real?"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit.metrics.in_balls import InBalls
from dit_toolkit.metrics.neighbours import Balls


@frozen(kw_only=True)
class Precision(InBalls):
    """Share of the samples that lie in a ball round a reference image, which an outlier among those makes large.

    It says nothing of variety: one good image, many times, has precision 1. It rises with k and falls with the size of
    the reference.
    """

    kind = "precision"

    def each(self, found: Balls) -> np.ndarray:
        """Whether each sample (N,) lies in a ball."""
        return found.samples > 0
