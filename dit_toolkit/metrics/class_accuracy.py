"""Class accuracy: does a classifier see the class that was asked for?"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

from dit_toolkit.components import Extractor, Metric, RealImages
from dit_toolkit.errors import DataError
from dit_toolkit.extractors.fashion import Fashion
from dit_toolkit.imageset import ImageSet


@frozen(kw_only=True)
class ClassAccuracy(Metric):
    """Share of samples that a classifier puts into the class asked for; that of Fashion-MNIST unless another is given.

    The classifier itself errs on some held-out images: that share is the floor, and samples may be above it, because
    guidance draws typical members of a class.
    """

    kind = "class-accuracy"
    higher_is_better = True
    extractor: Extractor = field(factory=Fashion)

    @property
    def name(self) -> str:
        """The kind, and the extractor where it is not that of Fashion-MNIST."""
        return self.kind if self.extractor.kind == Fashion.kind else f"{self.kind}-{self.extractor.name}"

    def compute(self, samples: ImageSet, real: RealImages) -> float:  # noqa: ARG002 - only the classes matter
        """Share in [0, 1]; DataError where the classifier does not have the classes."""
        logits, labels = samples.seen(self.extractor, "logits"), samples.labels
        if labels.max() >= logits.shape[1]:
            raise DataError(f"{self.name}: the classifier has {logits.shape[1]} classes; seen class {labels.max()}")
        return float(np.mean(logits.argmax(1) == labels))
