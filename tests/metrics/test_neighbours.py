"""Balls against brute force, also where there are copies and ties, whatever the blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_toolkit import stop
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.metrics import neighbours
from dit_toolkit.metrics.neighbours import balls, squared_radii
from tests.metrics.given import Given, make_set, normal


def distances(x, y):
    """Squared, (N, M), in float64."""
    return ((x[:, None].astype(float) - y[None]) ** 2).sum(2)


def plain_radii(x, k):
    among = distances(x, x)
    np.fill_diagonal(among, np.inf)
    return np.sort(among, 1)[:, k - 1]


def plain(x, y, k):
    across = distances(x, y)
    in_y, in_x = across <= plain_radii(y, k), (across <= plain_radii(x, k)[:, None]).T
    return in_y.sum(1), in_y.any(0), in_x.sum(1)


def found(x, y, k):
    return balls(make_set(features=x), make_set("reference", features=y), Given(), k)


def check(x, y, k):
    for seen, expected in zip(found(x, y, k), plain(x, y, k), strict=True):
        np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("rows", [3, 64, 2_048])
@pytest.mark.parametrize("k", [1, 3, 5, 8])
def test_blocks_find_what_all_distances_say(monkeypatch, rows, k):
    monkeypatch.setattr(neighbours, "ROWS", rows)
    check(normal(90, 6, scale=1.3, shift=0.2), normal(71, 6, seed=1), k)


@pytest.mark.parametrize("size", [1, 300])
def test_few_bytes_make_small_blocks(monkeypatch, size):
    monkeypatch.setattr(neighbours, "BYTES", 4_000)
    check(normal(60, size, scale=1.3), normal(50, size, seed=1), 3)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_copies_and_ties(data):
    """Whole numbers in two dimensions: most distances are there many times, and many points."""
    seed, k = data.draw(st.integers(0, 10_000)), data.draw(st.sampled_from([1, 2, 3, 5]))
    counts = [data.draw(st.integers(k + 1, 40)) for _ in range(2)]
    high, offset = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([0, 1_000]))
    rng = np.random.default_rng(seed)
    x, y = ((rng.integers(0, high, (n, 2)) + offset).astype(np.float32) for n in counts)
    check(x, y, k)


def test_ties_and_copies_that_float32_cannot_tell():
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 2, (200, 40)) + 1_000).astype(np.float32)
    x[50:] += rng.normal(0, 1e-3, (150, 40)).astype(np.float32)
    check(x[:100], np.concatenate([x[20:60], x[120:]]), 3)


def test_more_copies_than_neighbours():
    x = normal(40, 9)
    x[10:30] = x[10]
    radii = squared_radii(x, (3, 5))
    assert (radii[10:30] == 0).all()
    np.testing.assert_allclose(radii, np.stack([plain_radii(x, k) for k in (3, 5)], 1), rtol=1e-12)
    assert found(x, x, 5).covered.all()


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_identical_sets_reach_each_other(scale):
    x = normal(300, 80) * np.float32(scale)
    seen = found(x, x[::-1], 3)
    assert (seen.samples >= 1).all()
    assert (seen.reference >= 1).all()
    assert seen.covered.all()


def test_a_large_mean_does_not_drown_the_distances():
    check(normal(60, 20, shift=3_000), normal(60, 20, shift=3_000, seed=1), 3)


def test_everything_inside():
    far, near = normal(30, 4, scale=100), normal(30, 4, seed=1)
    check(far, near, 5)
    check(near, far, 5)


def test_one_search_serves_all_that_have_the_usual_k(monkeypatch):
    samples, reference = make_set(features=normal(40, 4)), make_set("reference", features=normal(40, 4, seed=1))
    balls(samples, reference, Given(), 3)
    searched = []
    monkeypatch.setattr(neighbours, "_products", lambda *args: searched.append(args) or iter(()))
    balls(samples, reference, Given(), 5)
    assert not searched
    balls(make_set(features=normal(40, 4, seed=2)), reference, Given(), 3)
    assert len(searched) == 2  # in the samples, and between the sets: the reference keeps its radii


def test_a_part_has_balls_of_its_own():
    whole, reference = make_set(features=normal(80, 5)), make_set("reference", features=normal(60, 5, seed=1))
    balls(whole, reference, Given(), 3)
    part = whole.take(np.arange(30))
    expected = plain(normal(80, 5)[:30], normal(60, 5, seed=1), 3)
    np.testing.assert_array_equal(balls(part, reference, Given(), 3).reference, expected[2])


def test_sets_of_k_images_are_refused():
    few, many = make_set("few", features=normal(3, 4)), make_set("many", features=normal(9, 4))
    for sets in [(few, many), (many, few)]:
        with pytest.raises(DataError, match="few: 3 images have no 3 nearest neighbours; 4 are the least"):
            balls(*sets, Given(), 3)
    four = make_set("four", features=normal(4, 4))
    assert (balls(four, many, Given(), 3).samples >= 0).all()
    with pytest.raises(DataError, match="four: 4 images have no 5"):
        balls(four, many, Given(), 5)


def test_a_search_stops_when_it_is_asked_to(monkeypatch):
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted, match="nearest neighbours"):
        found(normal(9, 2), normal(9, 2), 3)


def test_products_are_never_rounded_to_tf32(monkeypatch):
    setting, products, seen = torch.backends.cuda.matmul, neighbours._products, []
    monkeypatch.setattr(neighbours, "_products", lambda *a: (seen.append(setting.allow_tf32), products(*a))[1])
    setting.allow_tf32 = True
    try:
        found(normal(9, 2), normal(9, 2), 3)
        assert (seen, setting.allow_tf32) == ([False] * 3, True)
    finally:
        setting.allow_tf32 = False
