"""What is found out about images is found once, kept, and right for every part; the error is the textbook's."""

import math

import numpy as np
import pytest
from attrs import frozen

from dit_toolkit import stop
from dit_toolkit.components import Metric, RealImages
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.imageset import ImageSet, Stored
from dit_toolkit.moments import Moments

RNG = np.random.default_rng(0)


class Eyes:
    """An extractor that counts how often it looks."""

    kind = "eyes"

    def __init__(self):
        self.looked = 0

    def fingerprint(self):
        return "blue"

    def load(self, device):
        def see(images):
            self.looked += len(images)
            flat = images.reshape(len(images), -1).astype(np.float32)
            return {"features": flat[:, :5], "logits": flat[:, :2]}

        return see


@frozen(kw_only=True)
class Mean(Metric):
    kind = "mean"
    higher_is_better = None

    def compute(self, samples, real):
        return float(samples.each("mean", lambda block: block.mean((1, 2, 3))).mean())


def make_set(n=1_203, **kwargs):
    return ImageSet(RNG.integers(0, 256, (n, 3, 2, 3), np.uint8), np.arange(n) % 7, **kwargs)


def test_moments_are_those_of_numpy_whatever_the_block(monkeypatch):
    values = RNG.normal(1e3, 1, (1_001, 6)).astype(np.float32)
    monkeypatch.setattr("dit_toolkit.moments.ROWS", 17)
    moments = Moments.of(values)
    np.testing.assert_allclose(moments.mean, values.mean(0, dtype=float), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance, np.cov(values.astype(float), rowvar=False), rtol=1e-10, atol=1e-12)


def test_moments_without_a_part_are_those_of_the_rest():
    values = RNG.normal(5, 2, (300, 6))
    rest = Moments.of(values).without(Moments.of(values[40:70]))
    kept = np.delete(values, np.s_[40:70], 0)
    assert rest.count == 270
    np.testing.assert_allclose(rest.mean, kept.mean(0), rtol=1e-13)
    np.testing.assert_allclose(rest.covariance, np.cov(kept, rowvar=False), rtol=1e-11, atol=1e-13)


def test_one_value_has_no_covariance_and_no_nan():
    assert Moments.of(np.ones((1, 3))).covariance.tolist() == np.zeros((3, 3)).tolist()


def test_an_extractor_looks_once_for_all_outputs_and_parts():
    images, eyes = make_set(), Eyes()
    features = images.seen(eyes)
    assert features.shape == (1_203, 5)
    part = images.take(np.array([5, 3]))
    np.testing.assert_array_equal(part.seen(eyes), features[[5, 3]])
    np.testing.assert_array_equal(part.seen(eyes, "logits"), features[[5, 3], :2])
    np.testing.assert_array_equal(part.images[np.array([1])], images.images[[3]])
    assert part.labels.tolist() == [5, 3]
    assert (len(part), eyes.looked) == (2, 1_203)


def test_a_set_of_its_own_looks_at_nothing_else():
    images, eyes = make_set(), Eyes()
    images.apart(np.arange(10)).seen(eyes)
    assert eyes.looked == 10


def test_what_is_left_out_are_equal_parts_of_every_class():
    images, eyes = make_set(700), Eyes()
    rests = list(images.left_out())
    assert len(rests) == 10
    numbers = np.concatenate([np.setdiff1d(np.arange(700), rest.index) for rest in rests])
    assert sorted(numbers) == list(range(700))
    for rest in rests:
        assert np.bincount(rest.labels).tolist() == [90] * 7
        expected = Moments.of(images.seen(eyes)[rest.index])
        np.testing.assert_allclose(rest.moments(eyes).mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(rest.moments(eyes).covariance, expected.covariance, rtol=1e-9)


@pytest.mark.parametrize(("n", "parts"), [(1, 0), (2, 2), (7, 7), (10, 10)])
def test_few_images_have_few_parts(n, parts):
    assert len(list(make_set(n).left_out())) == parts


def test_the_error_of_a_mean_is_the_standard_error_of_the_mean():
    images = make_set(20_000)
    means = np.asarray(images.images[np.arange(20_000)]).mean((1, 2, 3))
    # Ten parts estimate a standard deviation with 9 degrees of freedom.
    assert Mean().error(images, RealImages(images)) == pytest.approx(means.std() / math.sqrt(20_000), rel=0.6)


def test_the_error_is_the_jackknife_of_single_values():
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    expected = np.arange(10).std(ddof=1) / math.sqrt(10)
    assert Mean().error(ImageSet(pixels), RealImages(ImageSet(pixels))) == pytest.approx(expected, rel=1e-12)
    assert Mean().error(ImageSet(pixels[:1]), RealImages(ImageSet(pixels))) is None


def test_stored_features_take_the_place_of_images():
    values = RNG.normal(size=(40, 5)).astype(np.float32)
    stored = ImageSet(None, stored={("eyes", "features"): Stored("blue", values=values)}, name="ref.npz")
    eyes = Eyes()
    assert len(stored) == 40
    np.testing.assert_array_equal(stored.take(np.array([7])).seen(eyes), values[[7]])
    np.testing.assert_allclose(stored.moments(eyes).mean, values.mean(0, dtype=float))
    assert eyes.looked == 0
    with pytest.raises(DataError, match=r"ref\.npz: holds no images, only features of eyes"):
        stored.seen(eyes, "logits")
    with pytest.raises(DataError, match=r"ref\.npz: the classes are not known"):
        _ = stored.labels


def test_stored_moments_are_taken_as_they_are():
    moments = Moments(7, np.ones(5), np.eye(5))
    images = make_set(stored={("eyes", "features"): Stored(None, moments)})
    assert images.moments(Eyes()) is moments
    assert images.seen(Eyes()).shape == (1_203, 5)


def test_features_of_another_network_are_refused():
    stored = ImageSet(None, stored={("eyes", "features"): Stored("brown", Moments(7, np.ones(5), np.eye(5)))}, name="r")
    with pytest.raises(DataError, match="r: was made by extractor 'eyes' with fingerprint brown, here it has blue"):
        stored.moments(Eyes())


def test_an_output_that_is_not_there_and_nan_are_errors():
    with pytest.raises(DataError, match="extractor 'eyes' gives no spatial; it gives features, logits"):
        make_set().seen(Eyes(), "spatial")

    class Blind(Eyes):
        def load(self, device):
            return lambda images: {"features": np.full((len(images), 2), np.nan, np.float32)}

    with pytest.raises(DataError, match="extractor 'eyes': features of 3 of 3 images hold NaN"):
        make_set(3).seen(Blind())


def test_looking_stops_when_it_is_asked_to(monkeypatch):
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted, match="stopped while samples were looked at"):
        make_set().seen(Eyes())
