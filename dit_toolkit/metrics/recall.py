"""Improved recall (Kynkaanniemi et al. 2019): how much of the reference do the samples reach?"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit.metrics.in_balls import InBalls
from dit_toolkit.metrics.neighbours import Balls


@frozen(kw_only=True)
class Recall(InBalls):
    """Share of the reference images that lie in a ball round a sample.

    Samples far from everything have large balls and may reach much: read it beside precision. Compare values of equal
    numbers of samples only.
    """

    kind = "recall"

    def each(self, found: Balls) -> np.ndarray:
        """Whether each reference image (M,) lies in a ball."""
        return found.reference > 0
