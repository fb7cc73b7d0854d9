"""What metrics share that are known from the features of Inception-v3, but can be asked of any extractor."""

from __future__ import annotations

import math

import numpy as np
from attrs import field, frozen

from dit_toolkit.components import Extractor, Metric
from dit_toolkit.extractors.inception import Inception


@frozen(kw_only=True)
class OnFeatures(Metric):
    """A metric of what an extractor sees, Inception-v3 unless another is given."""

    extractor: Extractor = field(factory=Inception)

    @property
    def name(self) -> str:
        """The kind; with the extractor where it is not Inception-v3, because values in other features never compare."""
        return self.kind if self.extractor.kind == Inception.kind else f"{self.kind}-{self.extractor.name}"


def only_inception(metric: Metric, option: object, extractor: Extractor) -> None:  # noqa: ARG001 - attrs gives it
    """Refuse another extractor where the name of the metric means Inception-v3; ValueError."""
    if extractor.kind != Inception.kind:
        raise ValueError(
            f"{metric.kind} is the Frechet distance in features of Inception-v3 alone, not of {extractor.kind!r}; "
            f'kind = "frechet-distance" takes any extractor'
        )


def error_of_mean(values: np.ndarray) -> float | None:
    """Standard error of the mean of independent values (N,); None for fewer than two."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
