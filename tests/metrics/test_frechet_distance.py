"""The Frechet distance against closed forms and against scipy's matrix root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dit_toolkit.components import RealImages
from dit_toolkit.datasets.fashion import Fashion as Data
from dit_toolkit.evaluation import real_images
from dit_toolkit.extractors.fashion import Fashion
from dit_toolkit.imageset import Moments
from dit_toolkit.metrics import frechet_distance as module
from dit_toolkit.metrics.frechet_distance import FrechetDistance

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
