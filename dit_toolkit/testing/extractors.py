"""Checks of extractors, on Fashion-MNIST images and noise of 32 x 32 pixels."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from dit_toolkit.components import Extractor


def check_fingerprint(extractor: Extractor) -> None:
    """The fingerprint is a string, the same every time."""
    found = [extractor.fingerprint() for _ in range(2)]
    assert isinstance(found[0], str), f"fingerprint() is a {type(found[0]).__name__}, expected a str"
    assert found[0] == found[1], f"fingerprint() is {found[0]}, then {found[1]}"


def check_outputs(extractor: Extractor) -> None:
    """There are features, and every output is a finite float32 array of one row for each image."""
    outputs = extractor.load("cpu")(_images())
    assert isinstance(outputs, Mapping), f"the outputs are a {type(outputs).__name__}, expected a mapping"
    assert "features" in outputs, f"there are no features among the outputs {', '.join(outputs)}"
    for name, values in outputs.items():
        assert isinstance(values, np.ndarray), f"{name} is a {type(values).__name__}, expected a numpy array"
        assert values.dtype == np.float32, f"{name} is {values.dtype}, expected float32"
        assert values.ndim == 2, f"{name} has the shape {values.shape}, expected (N, D)"
        assert len(values) == len(_images()), f"{name} has {len(values)} rows for {len(_images())} images"
        assert np.isfinite(values).all(), f"{name} holds values that are not finite"


def check_deterministic(extractor: Extractor) -> None:
    """The same images look the same every time, also to a network that is loaded again."""
    first, second = (extractor.load("cpu")(_images())["features"] for _ in range(2))
    assert np.array_equal(first, second), "the same images have other features the second time"


def check_images_are_seen_one_by_one(extractor: Extractor) -> None:
    """What is seen in an image does not depend on the others of its batch."""
    see = extractor.load("cpu")
    whole = see(_images())["features"]
    alone = np.concatenate([see(_images()[i : i + 1])["features"] for i in range(4)])
    scale = float(np.abs(whole).max())
    worst = float(np.abs(alone - whole[:4]).max())
    assert worst <= 1e-4 * scale, f"alone, an image has features that differ by {worst:g} of {scale:g}"


def check_input_is_kept(extractor: Extractor) -> None:
    """Images are not written to."""
    images = _images()
    extractor.load("cpu")(images)
    assert np.array_equal(images, _images()), "see(images) writes to its input"


def check_images_are_told_apart(extractor: Extractor) -> None:
    """Different images have different features."""
    features = extractor.load("cpu")(_images())["features"]
    different = len(np.unique(features, axis=0))
    assert different == len(features), f"{len(features)} different images have {different} different features"


def _images() -> np.ndarray:
    """Six images and two of noise, uint8 (8, 32, 32, 3); a copy each time, for those that write to them."""
    return _drawn().copy()


@functools.cache
def _drawn() -> np.ndarray:
    from dit_toolkit.datasets.fashion import Fashion

    noise = np.random.Philox(2).random_raw(2 * 32 * 32 * 3).astype(np.uint8).reshape(2, 32, 32, 3)
    return np.concatenate([Fashion().open("val").images[:6, :, :, None].repeat(3, 3), noise])
