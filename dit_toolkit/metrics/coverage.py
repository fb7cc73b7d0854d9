"""Coverage (Naeem et al. 2020): near how many of the reference images is there a sample?"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit.metrics.in_balls import InBalls
from dit_toolkit.metrics.neighbours import Balls


@frozen(kw_only=True)
class Coverage(InBalls):
    """Share of the balls round reference images that hold a sample: recall that broken samples cannot raise.

    Perfect samples, as many as the reference, have 1 - 2^-k, about 0.97 for k = 5; it rises with their number.
    """

    kind = "coverage"
    k: int = field(default=5, validator=ge(1))
    """A ball reaches to the k-th nearest neighbour in its own set."""

    def each(self, found: Balls) -> np.ndarray:
        """Whether the ball of each reference image (M,) holds a sample."""
        return found.covered
