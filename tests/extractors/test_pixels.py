"""Pixels as features: their values, and averages of exact boxes."""

import numpy as np
import pytest

from dit_toolkit.extractors.pixels import Pixels

RNG = np.random.default_rng(0)


def see(images, **options):
    return Pixels(**options).load()(images)["features"]


def test_features_are_the_pixels():
    images = RNG.integers(0, 256, (3, 4, 5, 3), np.uint8)
    np.testing.assert_allclose(see(images), images.reshape(3, -1) / 255, rtol=1e-6)
    np.testing.assert_allclose(see(images, grey=True), images.mean(3).reshape(3, -1) / 255, rtol=1e-6)


def test_whole_boxes_are_averaged():
    images = RNG.integers(0, 256, (2, 8, 12, 3), np.uint8)
    expected = images.reshape(2, 4, 2, 4, 3, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(see(images, size=4), expected.reshape(2, -1), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 5, 7, 16])
def test_any_size_keeps_the_mean(size):
    images = RNG.integers(0, 256, (2, 7, 5, 3), np.uint8)
    boxes = see(images, size=size).reshape(2, size, size, 3)
    np.testing.assert_allclose(boxes.mean((1, 2)), images.mean((1, 2)) / 255, rtol=1e-5)


def test_names_and_fingerprints_tell_options_apart():
    kinds = [Pixels(), Pixels(size=8), Pixels(grey=True), Pixels(size=8, grey=True)]
    assert [kind.name for kind in kinds] == ["pixels", "pixels-8", "pixels-grey", "pixels-8-grey"]
    assert len({kind.fingerprint() for kind in kinds}) == 4
