"""Mean and covariance of features."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from attrs import frozen

ROWS = 4_096
"""Rows of features that are held in float64 at once."""


@frozen(eq=False)
class Moments:
    """Mean and covariance of features."""

    count: int
    mean: np.ndarray
    """(D,) float64."""
    covariance: np.ndarray
    """(D, D) float64, divided by count - 1."""

    @cached_property
    def root(self) -> np.ndarray:
        """The symmetric root (D, D) of the covariance, also where that has less than full rank."""
        values, vectors = np.linalg.eigh(self.covariance)
        root: np.ndarray = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
        return root

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Those of values (N, D), in float64 block by block."""
        count, size = values.shape
        mean, scatter = np.zeros(size), np.zeros((size, size))
        for start in range(0, count, ROWS):
            mean += values[start : start + ROWS].sum(0, dtype=np.float64) / count
        for start in range(0, count, ROWS):
            centred = values[start : start + ROWS] - mean  # (n, D)
            scatter += centred.T @ centred
        return cls(count, mean, scatter / max(count - 1, 1))

    def without(self, part: Moments) -> Moments:
        """Those of all values but the ones in `part` (Chan et al. 1979, turned round)."""
        count = self.count - part.count
        mean = (self.count * self.mean - part.count * part.mean) / count
        between = mean - part.mean
        scatter = self.covariance * (self.count - 1) - part.covariance * max(part.count - 1, 0)
        scatter -= count * part.count / self.count * np.outer(between, between)
        return Moments(count, mean, scatter / max(count - 1, 1))
