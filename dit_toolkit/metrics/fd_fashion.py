"""Frechet distance (Dowson and Landau 1982) in the features of a Fashion-MNIST classifier. It is not FID."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from dit_toolkit.components import Metric, RealImages
from dit_toolkit.metrics.classifier import classify


@frozen(kw_only=True)
class FDFashion(Metric):
    """Frechet distance between samples and held-out images, as Gaussians of the classifier's 128 penultimate features.

    It falls with the number of samples, also for perfect ones: compare it with its floor, or with values of as many
    samples. It shares its form with FID and nothing else: never compare the two.
    """

    kind = "fd-fashion"
    higher_is_better = False
    floor = "train"
    zero_on = "heldout"
    symmetric = True

    def compute(self, images: np.ndarray, labels: np.ndarray, real: RealImages) -> float:  # noqa: ARG002
        """Distance >= 0 of `images` uint8 (N, S, S, 3) to the held-out ones; the labels do not matter."""
        (_, samples), (_, heldout) = classify(images), classify(real.heldout)
        return frechet_distance(*moments(samples), *moments(heldout))


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D), divided by N - 1, of features float64 (N, D)."""
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / max(len(features) - 1, 1)


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """|mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), for means (D,) and covariances (D, D), float64.

    The trace of the root is that of (r cov2 r)^(1/2) with r = cov1^(1/2): symmetric, so `eigh` gives it without the
    complex parts that `sqrtm` has on covariances of less than full rank.
    """
    values, vectors = np.linalg.eigh(cov1)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov2 @ root)
    trace = np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(np.clip(product, 0, None)).sum()
    return max(0.0, float(((mean1 - mean2) ** 2).sum() + trace))
