"""The Frechet distance against closed forms and against scipy's matrix root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dit_toolkit.components import RealImages
from dit_toolkit.datasets.fashion import Fashion as Data
from dit_toolkit.evaluation import real_images
from dit_toolkit.extractors.fashion import Fashion
from dit_toolkit.metrics import frechet_distance as module
from dit_toolkit.metrics.frechet_distance import FrechetDistance, influence
from dit_toolkit.moments import Moments
from tests.metrics.given import Given, normal, pair

RNG = np.random.default_rng(0)


def frechet_distance(mean1, cov1, mean2, cov2):
    return module.frechet_distance(Moments(10, mean1, cov1), Moments(10, mean2, cov2))


def make_factor(size, rank):
    return RNG.standard_normal((size, rank))


def test_equal_gaussians_have_distance_zero():
    mean, factor = RNG.standard_normal(20), make_factor(20, 40)
    cov = factor @ factor.T
    assert frechet_distance(mean, cov, mean, cov) == pytest.approx(0, abs=1e-10)


def test_commuting_covariances_have_a_closed_form():
    a, b = RNG.uniform(0, 3, (2, 16))
    rotation, _ = np.linalg.qr(RNG.standard_normal((16, 16)))
    mean1, mean2 = RNG.standard_normal((2, 16))
    value = frechet_distance(mean1, rotation * a @ rotation.T, mean2, rotation * b @ rotation.T)
    assert value == pytest.approx(((mean1 - mean2) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-12)


def test_one_dimension():
    assert frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([4.0]), np.array([[9.0]])) == pytest.approx(10)


def test_it_equals_sqrtm():
    mean1, mean2 = RNG.standard_normal((2, 64))
    cov1, cov2 = (factor @ factor.T for factor in (make_factor(64, 100), make_factor(64, 100)))
    expected = ((mean1 - mean2) ** 2).sum() + np.trace(cov1 + cov2 - 2 * sqrtm(cov1 @ cov2).real)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("rank1", "rank2"), [(5, 64), (64, 5), (5, 7), (0, 64), (0, 0)])
def test_covariances_of_less_than_full_rank(rank1, rank2):
    # For cov = f f', the trace of the root is the nuclear norm of f1' f2: no root of a singular matrix is needed.
    zero, factor1, factor2 = np.zeros(64), make_factor(64, rank1), make_factor(64, rank2)
    nuclear = np.linalg.svd(factor1.T @ factor2, compute_uv=False).sum() if rank1 and rank2 else 0
    expected = (factor1**2).sum() + (factor2**2).sum() - 2 * nuclear
    value = frechet_distance(zero, factor1 @ factor1.T, zero, factor2 @ factor2.T)
    assert value == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_held_out_images_themselves_have_distance_zero_and_one_class_is_far():
    real = real_images(Data())
    metric = FrechetDistance(extractor=Fashion())
    assert metric.name == "fd-fashion"
    reference = real.reference
    assert metric.compute(reference.take(np.arange(len(reference))[::-1]), real) == pytest.approx(0, abs=1e-6)
    trousers = reference.take(np.flatnonzero(reference.labels == 1))
    assert metric.compute(trousers, RealImages(reference)) > 5


def weighted(values, weights):
    """Moments of values (N, D), which count as often as their weights say."""
    weights = weights / weights.sum()
    mean = weights @ values
    return Moments(len(values), mean, (values - mean).T * weights @ (values - mean))


@pytest.mark.parametrize(("count", "size"), [(200, 5), (12, 20)], ids=["full rank", "fewer values than features"])
def test_the_influence_of_a_value_is_the_derivative_by_its_weight(count, size):
    values, other = normal(count, size, scale=1.3, shift=0.1).astype(float), Moments.of(normal(300, size, seed=1))
    ones, step = np.ones(count), 1e-4
    found = influence(values, weighted(values, ones), other)
    for i in range(4):
        up, down = (ones + step * sign * (np.arange(count) == i) for sign in (1, -1))
        distances = [module.frechet_distance(weighted(values, weights), other) for weights in (up, down)]
        slope = (distances[0] - distances[1]) / (2 * step) * count
        assert found[i] - found.mean() == pytest.approx(slope, rel=1e-3, abs=1e-3 * found.std())


@pytest.mark.parametrize(("shift", "scale"), [(0.2, 1.2), (0.0, 2.0)])
def test_the_error_is_the_spread_of_distances_of_other_samples(shift, scale):
    metric, reference = FrechetDistance(extractor=Given()), normal(2_000, 10, seed=1_000)
    sets = [pair(normal(300, 10, shift=shift, scale=scale, seed=seed), reference) for seed in range(100)]
    spread = np.std([metric.compute(*each) for each in sets])
    error = np.mean([metric.error(*each) for each in sets[:10]])
    assert error == pytest.approx(spread, rel=0.3)
    jackknife = np.mean([super(FrechetDistance, metric).error(*each) for each in sets[:10]])
    assert error == pytest.approx(jackknife, rel=0.3)


def test_few_samples_of_many_features():
    """The nuclear norm of the product of the centred features is the trace of the root: no covariance is needed."""
    x, y = normal(20, 200, scale=1.2), normal(50, 200, seed=1)
    a, b = ((z.astype(float) - z.mean(0, dtype=float)) / (len(z) - 1) ** 0.5 for z in (x, y))
    shift = ((x.mean(0, dtype=float) - y.mean(0, dtype=float)) ** 2).sum()
    nuclear = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    value = FrechetDistance(extractor=Given()).compute(*pair(x, y))
    assert value == pytest.approx(shift + (a**2).sum() + (b**2).sum() - 2 * nuclear, rel=1e-6)
