"""Copies are 0, unseen real images are 1, and the block-wise search finds what a plain search finds."""

import numpy as np
import pytest

from dit_toolkit import stop
from dit_toolkit.components import RealImages
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics import memorisation
from dit_toolkit.metrics.memorisation import Memorisation, nearest

RNG = np.random.default_rng(0)


def make_real(channels=3, train=40, heldout=21):
    shape = (5, 4, channels)
    sets = [ImageSet(RNG.integers(0, 256, (n, *shape), np.uint8).repeat(3 // channels, 3)) for n in (heldout, train)]
    return RealImages(*sets)


def compute(images, real):
    return Memorisation().compute(ImageSet(images), real)


@pytest.mark.parametrize("channels", [1, 3])
def test_copies_are_zero_and_held_out_images_are_one(channels):
    real = make_real(channels)
    assert compute(real.train.images[5:9], real) == 0
    assert compute(real.reference.images, real) == 1


def test_colour_noise_among_grey_images_keeps_its_colours():
    real = make_real(channels=1)
    images = np.zeros((3, 5, 4, 3), np.uint8)
    images[..., 1:] = 255  # the first channel alone would look black
    distances = [np.median(plain(x, real.train.images)) for x in (images, real.reference.images)]
    assert compute(images, real) == pytest.approx(distances[0] / distances[1])


def test_it_is_the_ratio_of_medians_on_pixels():
    def flat(*values):
        return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])

    real = RealImages(ImageSet(flat(10, 20, 200)), ImageSet(flat(0)))
    assert compute(flat(1, 5, 6), real) == pytest.approx(5 / 20, rel=1e-12)


def plain(a, b):
    return np.sqrt(((a[:, None].astype(float) - b[None]) ** 2).sum((2, 3, 4))).min(1)


@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_find_the_nearest(monkeypatch, channels):
    monkeypatch.setattr(memorisation, "BLOCK", 7)
    a, b = (RNG.integers(0, 256, (n, 3, 3, channels), np.uint8).repeat(3 // channels, 3) for n in (30, 50))
    np.testing.assert_allclose(nearest(ImageSet(a), ImageSet(b)), plain(a, b), rtol=1e-12)


def test_the_error_needs_no_second_search(monkeypatch):
    real, samples = make_real(), ImageSet(make_real().train.images)
    Memorisation().compute(samples, real)
    monkeypatch.setattr(memorisation, "nearest", None)
    assert Memorisation().error(samples, real) > 0


def test_other_sizes_and_a_reference_alone_are_refused():
    with pytest.raises(DataError, match=r"images are \(28, 28, 3\), the training images \(5, 4, 3\)"):
        compute(np.zeros((2, 28, 28, 3), np.uint8), make_real())
    with pytest.raises(DataError, match="memorisation: needs the training images"):
        compute(np.zeros((2, 5, 4, 3), np.uint8), make_real()._replace(train=None))


def test_a_search_stops_when_it_is_asked_to(monkeypatch):
    images = ImageSet(make_real().train.images)
    images.each("grey", memorisation._is_grey)
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted, match="nearest training images"):
        nearest(images, images)
