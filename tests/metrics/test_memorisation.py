"""Copies are 0, unseen real images are 1, and the block-wise search finds what a plain search finds."""

import numpy as np
import pytest

from dit_toolkit.components import RealImages
from dit_toolkit.errors import DataError
from dit_toolkit.metrics import memorisation
from dit_toolkit.metrics.memorisation import Memorisation, nearest

RNG = np.random.default_rng(0)


def make_real(channels=3, train=40, heldout=21):
    shape = (5, 4, channels)
    arrays = [RNG.integers(0, 256, (n, *shape), np.uint8).repeat(3 // channels, 3) for n in (train, heldout)]
    return RealImages(arrays[0], np.zeros(train, int), arrays[1], np.zeros(heldout, int))


@pytest.mark.parametrize("channels", [1, 3])
def test_copies_are_zero_and_held_out_images_are_one(channels):
    real = make_real(channels)
    assert Memorisation().compute(real.train[5:9], real.train_labels[5:9], real) == 0
    assert Memorisation().compute(real.heldout, real.heldout_labels, real) == 1


def test_colour_noise_among_grey_images_keeps_its_colours():
    real = make_real(channels=1)
    images = np.zeros((3, 5, 4, 3), np.uint8)
    images[..., 1:] = 255  # the first channel alone would look black
    distances = [np.median(nearest(x, real.train)) for x in (images, real.heldout)]
    assert Memorisation().compute(images, np.zeros(3, int), real) == pytest.approx(distances[0] / distances[1])


def test_it_is_the_ratio_of_medians_on_pixels():
    train = np.zeros((1, 2, 2, 3), np.uint8)
    heldout = np.stack([np.full((2, 2, 3), v, np.uint8) for v in (10, 20, 200)])
    images = np.stack([np.full((2, 2, 3), v, np.uint8) for v in (1, 5, 6)])
    zeros = np.zeros(3, int)
    assert Memorisation().compute(images, zeros, RealImages(train, zeros[:1], heldout, zeros)) == 5 / 20


def test_blocks_find_the_nearest(monkeypatch):
    monkeypatch.setattr(memorisation, "BLOCK", 7)
    a, b = (RNG.integers(0, 256, (n, 3, 3, 3), np.uint8) for n in (30, 50))
    plain = np.sqrt(((a[:, None].astype(float) - b[None]) ** 2).sum((2, 3, 4))).min(1)
    np.testing.assert_allclose(nearest(a, b), plain, rtol=1e-12)


def test_other_sizes_are_refused():
    with pytest.raises(DataError, match=r"images are \(28, 28, 3\), the training images \(5, 4, 3\)"):
        Memorisation().compute(np.zeros((2, 28, 28, 3), np.uint8), np.zeros(2, int), make_real())
