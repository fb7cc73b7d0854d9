"""Checks of metrics, on the Fashion-MNIST images that come with the package."""

from __future__ import annotations

import functools
import math

import numpy as np

from dit_toolkit.components import Metric, RealImages
from dit_toolkit.testing.claims import claims


def check_declarations(metric: Metric) -> None:
    """The class says which way is better, in which unit and what its floor is; the kind is in the report beside it."""
    better = getattr(metric, "higher_is_better", "nothing")
    assert better in (True, False, None), f"higher_is_better is {better!r}, expected True, False or None"
    assert isinstance(metric.unit, str), f"unit is {metric.unit!r}, expected a string"
    assert metric.floor in ("heldout", "train"), f"floor is {metric.floor!r}, expected 'heldout' or 'train'"


def check_value_is_a_number(metric: Metric) -> None:
    """`compute` returns a finite Python float, for real images and for noise."""
    for images, labels in (_real()[:2], _noise()):
        value = metric.compute(images, labels, _real())
        assert type(value) is float, f"compute returns a {type(value).__name__}, expected a float"
        assert math.isfinite(value), f"compute returns {value}"


def check_deterministic(metric: Metric) -> None:
    """The same images have the same value every time."""
    values = [metric.compute(*_some(), _real()) for _ in range(2)]
    assert values[0] == values[1], f"the same images have the values {values[0]} and {values[1]}"


def check_order_does_not_matter(metric: Metric) -> None:
    """A set has no order: shuffled together with their labels, images have the same value."""
    images, labels = _some()
    order = np.random.Philox(0).random_raw(len(images)).argsort()
    value, shuffled = (metric.compute(images[o], labels[o], _real()) for o in (slice(None), order))
    assert math.isclose(value, shuffled, rel_tol=1e-4, abs_tol=1e-6), f"{value} becomes {shuffled} in another order"


def check_input_is_kept(metric: Metric) -> None:
    """Neither samples nor real images are written to."""
    images, labels, real = *_some(), RealImages(*(part.copy() for part in _real()))
    metric.compute(images, labels, real)
    given, kept = (images, labels, *real), (*_some(), *_real())
    assert all(np.array_equal(a, b) for a, b in zip(given, kept, strict=True)), "compute() writes to its input"


def check_noise_is_worse(metric: Metric) -> None:
    """Noise has a worse value than real images, in the direction that `higher_is_better` says."""
    real = _real()
    given = (real.heldout, real.heldout_labels) if metric.floor == "heldout" else (real.train, real.train_labels)
    floor, noise = metric.compute(*given, real), metric.compute(*_noise(), real)
    better = metric.higher_is_better
    worse = noise != floor if better is None else (noise < floor) == better and noise != floor
    assert worse, f"noise has {noise:g}, real images {floor:g}, but higher_is_better = {better}"


@claims("zero_on")
def check_zero(metric: Metric) -> None:
    """The real images of `zero_on` have the value 0 when they are given as samples."""
    real = _real()
    given = (real.heldout, real.heldout_labels) if metric.zero_on == "heldout" else (real.train, real.train_labels)
    value, other = metric.compute(*given, real), metric.compute(*_noise(), real)
    assert abs(value) <= 1e-6 * abs(other), f"zero_on = {metric.zero_on!r}, but these images have the value {value:g}"


@claims("symmetric")
def check_symmetric(metric: Metric) -> None:
    """Samples and held-out images exchanged have the same value."""
    real, (images, labels) = _real(), _some()
    value = metric.compute(images, labels, real)
    turned = metric.compute(real.heldout, real.heldout_labels, real._replace(heldout=images, heldout_labels=labels))
    assert math.isclose(value, turned, rel_tol=1e-4, abs_tol=1e-6), f"{value:g} becomes {turned:g} when exchanged"


@functools.cache
def _real() -> RealImages:
    """300 training and 150 held-out images, uint8 (N, 32, 32, 3)."""
    from dit_toolkit.datasets.fashion import Fashion

    parts: list[np.ndarray] = []
    for split, number in ((Fashion().open("train"), 300), (Fashion().open("val"), 150)):
        parts += [split.images[:number, :, :, None].repeat(3, 3), split.labels[:number]]
    return RealImages(*parts)


def _some() -> tuple[np.ndarray, np.ndarray]:
    """100 images between real and noise."""
    real, (noise, _) = _real(), _noise()
    return (real.train[:100] // 2 + noise[:100] // 2), real.train_labels[:100].copy()


def _noise() -> tuple[np.ndarray, np.ndarray]:
    """150 images of noise, with labels."""
    words = np.random.Philox(1).random_raw(150 * 32 * 32 * 3)
    return (words % 256).astype(np.uint8).reshape(150, 32, 32, 3), np.arange(150) % 10
