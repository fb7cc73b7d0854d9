"""Precision, recall, density and coverage: what they are by definition, of perfect, broken and collapsed samples."""

import math

import numpy as np
import pytest

from dit_toolkit.metrics.coverage import Coverage
from dit_toolkit.metrics.density import Density
from dit_toolkit.metrics.precision import Precision
from dit_toolkit.metrics.recall import Recall
from tests.metrics.given import Given, Inception, normal, pair
from tests.metrics.test_neighbours import distances, plain_radii

KINDS = [Precision, Recall, Density, Coverage]


def values(x, y, **options):
    return [kind(extractor=Given(), **options).compute(*pair(x, y)) for kind in KINDS]


def test_they_are_named_after_any_extractor_but_inception():
    assert [kind(extractor=Inception()).name for kind in KINDS] == ["precision", "recall", "density", "coverage"]
    assert [kind(extractor=Given()).name for kind in KINDS[:2]] == ["precision-given", "recall-given"]
    assert [kind(extractor=Given()).k for kind in KINDS] == [3, 3, 5, 5]


@pytest.mark.parametrize("k", [1, 3, 5, 6])
def test_definitions(k):
    x, y = normal(70, 5, shift=1), normal(90, 5, seed=1)
    across = distances(x, y)
    in_y, in_x = across <= plain_radii(y, k), across <= plain_radii(x, k)[:, None]
    expected = [in_y.any(1).mean(), in_x.any(0).mean(), in_y.sum() / (k * len(x)), in_y.any(0).mean()]
    assert values(x, y, k=k) == pytest.approx(expected, rel=1e-12)
    assert all(0 < value < 1 for value in expected)


def test_identical_sets():
    x = normal(200, 30)
    precision, recall, density, coverage = values(x, x[::-1])
    assert precision == recall == coverage == 1
    assert density == pytest.approx(6 / 5, abs=0.02)  # an image lies in its own ball, and on average in five others


def test_perfect_samples_have_the_expected_coverage():
    expected = 1 - math.prod((600 - i) / (1_200 - i) for i in range(1, 6))  # Naeem et al. 2020, section 3.3
    coverage = np.mean([values(normal(600, 8, seed=n), normal(600, 8, seed=9 + n))[3] for n in range(4)])
    assert coverage == pytest.approx(expected, abs=0.01)


def test_sets_far_apart_have_nothing_in_common():
    assert values(normal(50, 4, shift=1_000), normal(60, 4)) == [0, 0, 0, 0]


def test_one_good_image_many_times_is_precise_and_covers_nothing():
    y = normal(100, 6)
    precision, recall, density, coverage = values(np.repeat(y[:1], 50, 0), y)
    assert precision == 1
    assert recall == 0.01  # balls of copies are points
    assert density > 0
    assert coverage < 0.2


def test_an_outlier_raises_precision_and_recall_alone():
    y = np.concatenate([normal(100, 3), np.full((1, 3), 30, np.float32)])
    x = normal(100, 3, shift=15, seed=1)
    precision, _, density, coverage = values(x, y)
    assert precision == 1
    assert (density, coverage) == (pytest.approx(1 / 5), pytest.approx(1 / 101))
    assert values(y, x)[1] == 1


def test_errors_are_those_of_means_given_the_balls():
    x, y = normal(80, 5, scale=1.4, shift=0.2), normal(60, 5, seed=1)
    for kind, count in zip(KINDS, (80, 60, 80, 60), strict=True):
        metric, sets = kind(extractor=Given()), pair(x, y)
        value, error = metric.compute(*sets), metric.error(*sets)
        if kind is not Density:
            assert error == pytest.approx(math.sqrt(value * (1 - value) / (count - 1)), rel=1e-9)
    spread = np.std([values(normal(80, 5, scale=1.4, shift=0.2, seed=seed), y)[2] for seed in range(2, 40)])
    assert Density(extractor=Given()).error(*pair(x, y)) == pytest.approx(spread, rel=0.4)
