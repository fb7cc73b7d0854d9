"""The Inception Score against closed forms."""

import math

import numpy as np
import pytest

from dit_toolkit.metrics.inception_score import InceptionScore, divergences
from tests.metrics.given import Given, Inception, make_set, normal

SURE = 1e3


def score(logits, **options):
    return InceptionScore(extractor=Given(), **options).compute(make_set(logits=logits), None)


def test_it_is_named_after_any_extractor_but_inception():
    assert InceptionScore(extractor=Inception()).name == "inception-score"
    assert InceptionScore(extractor=Given(called="other-224")).name == "inception-score-other-224"


@pytest.mark.parametrize("logits", [np.zeros((50, 7)), np.tile(normal(1, 7), (50, 1)), SURE * np.eye(7)[[3] * 50]])
def test_samples_that_look_alike_have_one(logits):
    assert score(logits) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("classes", [1, 2, 9])
def test_sure_and_balanced_samples_have_the_number_of_classes(classes):
    assert score(SURE * np.eye(10)[np.arange(90) % classes]) == pytest.approx(classes, rel=1e-12)


def test_a_constant_of_each_sample_does_not_matter():
    logits = normal(100, 8, scale=2)
    shifted = logits + np.array([[-80], [80]] * 50, np.float32)
    assert score(logits) == pytest.approx(score(shifted), rel=1e-5)


def test_splits_are_consecutive_and_the_last_takes_what_is_left():
    logits = normal(25, 6, scale=3)
    expected = [score(logits[i : i + 10]) for i in (0, 10, 20)]
    assert score(logits, split_size=10) == pytest.approx(np.mean(expected), rel=1e-12)
    assert score(logits, split_size=25) == score(logits) == pytest.approx(math.exp(divergences(logits).mean()))


def test_the_error_is_the_spread_of_scores_of_other_samples():
    metric = InceptionScore(extractor=Given(), split_size=200)
    sets = [make_set(logits=normal(500, 8, scale=2, seed=seed)) for seed in range(100)]
    spread = np.std([metric.compute(samples, None) for samples in sets])
    assert metric.error(sets[0], None) == pytest.approx(spread, rel=0.35)


def test_a_split_of_one_sample_has_no_error():
    metric = InceptionScore(extractor=Given(), split_size=5)
    assert metric.error(make_set(logits=normal(6, 3)), None) is None
    assert metric.error(make_set(logits=normal(10, 3)), None) > 0
