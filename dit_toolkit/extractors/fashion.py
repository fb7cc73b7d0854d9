"""The classifier of Fashion-MNIST that comes with the package."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit.components import Extractor, See
from dit_toolkit.extractors.classifier import SHA256, classify


@frozen(kw_only=True)
class Fashion(Extractor):
    """128 penultimate features and 10 logits of a small classifier of Fashion-MNIST; for images of 28 to 32 pixels."""

    kind = "fashion"

    def fingerprint(self) -> str:
        """SHA-256 of the shipped weights."""
        return SHA256

    def load(self, device: str = "cpu") -> See:  # noqa: ARG002 - it is quick enough on the CPU
        """Return what gives "features" (N, 128) and "logits" (N, 10); DataError for images of other sizes."""

        def see(images: np.ndarray) -> dict[str, np.ndarray]:
            logits, features = classify(images)
            return {"features": features, "logits": logits}

        return see
