"""Checks of metrics, on the Fashion-MNIST images that come with the package."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np

from dit_toolkit.components import Metric, RealImages
from dit_toolkit.imageset import ImageSet
from dit_toolkit.testing.claims import claims

Arrays = tuple[np.ndarray, np.ndarray]
"""Images uint8 (N, H, W, 3) and labels (N,)."""


def check_declarations(metric: Metric) -> None:
    """The class says which way is better, in which unit and what its floor is; name and kind are strings."""
    better = getattr(metric, "higher_is_better", "nothing")
    assert better in (True, False, None), f"higher_is_better is {better!r}, expected True, False or None"
    assert isinstance(metric.unit, str), f"unit is {metric.unit!r}, expected a string"
    assert isinstance(metric.name, str), f"name is {metric.name!r}, expected a string"
    assert metric.floor in ("reference", "train"), f"floor is {metric.floor!r}, expected 'reference' or 'train'"


def check_value_is_a_number(metric: Metric) -> None:
    """`compute` returns a finite Python float, for real images and for noise."""
    for arrays in (_train(), _noise()):
        value = metric.compute(ImageSet(*arrays), _real())
        assert type(value) is float, f"compute returns a {type(value).__name__}, expected a float"
        assert math.isfinite(value), f"compute returns {value}"


def check_error_is_a_number(metric: Metric) -> None:
    """`error` returns a finite float of at least 0, or None."""
    error = metric.error(ImageSet(*_some()), _real())
    assert error is None or type(error) is float, f"error returns a {type(error).__name__}, expected a float or None"
    assert error is None or 0 <= error < math.inf, f"error returns {error}, expected a finite number of at least 0"


def check_deterministic(metric: Metric) -> None:
    """The same images have the same value every time."""
    values = [metric.compute(ImageSet(*_some()), _real()) for _ in range(2)]
    assert values[0] == values[1], f"the same images have the values {values[0]} and {values[1]}"


def check_order_does_not_matter(metric: Metric) -> None:
    """A set has no order: shuffled together with their labels, images have the same value."""
    images, labels = _some()
    order = np.random.Philox(0).random_raw(len(images)).argsort()
    value, shuffled = (metric.compute(ImageSet(images[o], labels[o]), _real()) for o in (slice(None), order))
    assert math.isclose(value, shuffled, rel_tol=1e-4, abs_tol=1e-6), f"{value} becomes {shuffled} in another order"


def check_input_is_kept(metric: Metric) -> None:
    """Neither samples nor real images are written to."""
    given = [array.copy() for pair in (_some(), _heldout(), _train()) for array in pair]
    kept = [array.copy() for array in given]
    samples, reference, train = (ImageSet(*given[i : i + 2]) for i in (0, 2, 4))
    metric.compute(samples, RealImages(reference, train))
    assert all(np.array_equal(a, b) for a, b in zip(given, kept, strict=True)), "compute() writes to its input"


def check_noise_is_worse(metric: Metric) -> None:
    """Noise has a worse value than real images, in the direction that `higher_is_better` says."""
    given = _heldout() if metric.floor == "reference" else _train()
    floor, noise = (metric.compute(ImageSet(*arrays), _real()) for arrays in (given, _noise()))
    better = metric.higher_is_better
    worse = noise != floor if better is None else (noise < floor) == better and noise != floor
    assert worse, f"noise has {noise:g}, real images {floor:g}, but higher_is_better = {better}"


@claims("zero_on")
def check_zero(metric: Metric) -> None:
    """The real images of `zero_on` have the value 0 when they are given as samples."""
    given = _heldout() if metric.zero_on == "reference" else _train()
    value, other = (metric.compute(ImageSet(*arrays), _real()) for arrays in (given, _noise()))
    assert abs(value) <= 1e-6 * abs(other), f"zero_on = {metric.zero_on!r}, but these images have the value {value:g}"


@claims("symmetric")
def check_symmetric(metric: Metric) -> None:
    """Samples and reference exchanged have the same value."""
    value = metric.compute(ImageSet(*_some()), _real())
    turned = metric.compute(ImageSet(*_heldout()), RealImages(ImageSet(*_some()), ImageSet(*_train())))
    assert math.isclose(value, turned, rel_tol=1e-4, abs_tol=1e-6), f"{value:g} becomes {turned:g} when exchanged"


def _real() -> RealImages:
    """150 held-out and 300 training images, not looked at yet."""
    return RealImages(ImageSet(*_heldout(), name="reference"), ImageSet(*_train(), name="training images"))


@functools.cache
def _heldout() -> Arrays:
    return _split("val", 150)


@functools.cache
def _train() -> Arrays:
    return _split("train", 300)


def _split(name: Literal["train", "val"], number: int) -> Arrays:
    from dit_toolkit.datasets.fashion import Fashion

    split = Fashion().open(name)
    return split.images[:number, :, :, None].repeat(3, 3), split.labels[:number]


def _some() -> Arrays:
    """100 images between real and noise."""
    (train, labels), (noise, _) = _train(), _noise()
    return (train[:100] // 2 + noise[:100] // 2), labels[:100].copy()


def _noise() -> Arrays:
    """150 images of noise, with labels."""
    words = np.random.Philox(1).random_raw(150 * 32 * 32 * 3)
    return (words % 256).astype(np.uint8).reshape(150, 32, 32, 3), np.arange(150) % 10
