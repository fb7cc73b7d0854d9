"""Inception Score (Salimans et al. 2016): does a classifier see one class in each sample, and many in all?"""

from __future__ import annotations

import math

import numpy as np
from attrs import field, frozen
from attrs.validators import ge
from scipy.special import log_softmax, logsumexp

from dit_toolkit.components import RealImages
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.on_features import OnFeatures


@frozen(kw_only=True)
class InceptionScore(OnFeatures):
    """exp(E KL(p(class | x) || p(class))), the mean of that of consecutive splits; a real image is not looked at.

    It rises with the split size, so compare values of equal ones: 5,000 is that of the published values.
    """

    kind = "inception-score"
    higher_is_better = True
    by_number = True
    split_size: int = field(default=5_000, validator=ge(1))
    """Samples in a split; the last one takes what is left."""

    def compute(self, samples: ImageSet, real: RealImages) -> float:  # noqa: ARG002 - only the samples matter
        """Score from 1 to the number of classes."""
        return float(np.mean([math.exp(each.mean()) for each in self._divergences(samples)]))

    def error(self, samples: ImageSet, real: RealImages) -> float | None:  # noqa: ARG002
        """Standard error by the delta method, None where a split has one sample.

        The derivative of the logarithm of a score by the weight of a sample is the divergence of that sample and a
        constant: what it changes in p(class) cancels.
        """
        splits = self._divergences(samples)
        if min(map(len, splits)) < 2:
            return None
        return math.sqrt(sum((math.exp(d.mean()) * d.std(ddof=1)) ** 2 / len(d) for d in splits)) / len(splits)

    def _divergences(self, samples: ImageSet) -> list[np.ndarray]:
        """KL(p(class | x) || p(class)) of the samples of each split."""
        logits = samples.seen(self.extractor, "logits")
        return [divergences(logits[i : i + self.split_size]) for i in range(0, len(logits), self.split_size)]


def divergences(logits: np.ndarray) -> np.ndarray:
    """KL(p(class | x) || p(class)) (N,) in float64 of the softmax of logits (N, C), p(class) being its mean."""
    each = log_softmax(logits.astype(np.float64), axis=1)  # (N, C)
    mean = logsumexp(each, axis=0) - math.log(len(each))  # (C,)
    found: np.ndarray = (np.exp(each) * (each - mean)).sum(1)
    return found
