"""Class accuracy: does a classifier see the class that was asked for?"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit.components import Metric, RealImages
from dit_toolkit.errors import DataError
from dit_toolkit.metrics.classifier import NUM_CLASSES, classify


@frozen(kw_only=True)
class ClassAccuracy(Metric):
    """Share of Fashion-MNIST samples that the classifier of the package puts into the class asked for.

    The classifier itself errs on some held-out images: that share is the floor, and samples may be above it, because
    guidance draws typical members of a class.
    """

    kind = "class-accuracy"
    higher_is_better = True

    def compute(self, images: np.ndarray, labels: np.ndarray, real: RealImages) -> float:  # noqa: ARG002
        """Share in [0, 1] for `images` uint8 (N, S, S, 3) and labels (N,); DataError where the images do not fit."""
        if labels.max() >= NUM_CLASSES:
            raise DataError(
                f"class-accuracy knows the {NUM_CLASSES} classes of Fashion-MNIST; seen class {labels.max()}"
            )
        classes, _ = classify(images)
        return float((classes == labels).mean())
