"""fid and sfid are the Frechet distance of two outputs of Inception-v3, and of nothing else."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dit_toolkit.components import RealImages
from dit_toolkit.errors import DataError
from dit_toolkit.metrics.fid import FID
from dit_toolkit.metrics.frechet_distance import FrechetDistance
from dit_toolkit.metrics.sfid import SFID
from tests.metrics.given import Given, Inception, make_set, normal


def sets(count=80):
    """Maps of 3 x 3 positions and 4 channels, channels last, flattened."""
    return (
        make_set(name, Inception, features=normal(n, 6, seed=n), spatial=normal(n, 36, seed=1 + n))
        for name, n in [("samples", count), ("reference", 90)]
    )


def by_definition(x, y):
    means, covariances = ([f(z.astype(float)) for z in (x, y)] for f in (lambda z: z.mean(0), lambda z: np.cov(z.T)))
    root = sqrtm(covariances[0] @ covariances[1]).real
    return ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)


@pytest.mark.parametrize(("kind", "name", "output"), [(FID, "fid", "features"), (SFID, "sfid", "spatial")])
def test_they_are_the_distance_of_their_output(kind, name, output):
    samples, reference = sets()
    metric = kind(extractor=Inception())
    expected = by_definition(samples.seen(Inception(), output), reference.seen(Inception(), output))
    assert metric.name == name
    assert metric.compute(samples, RealImages(reference)) == pytest.approx(expected, rel=1e-9)
    assert metric.error(samples, RealImages(reference)) > 0


@pytest.mark.parametrize("kind", [FID, SFID])
def test_other_features_are_refused(kind):
    with pytest.raises(
        ValueError, match=rf"{kind.kind} is .* of Inception-v3 .* not of 'given'; kind = \"frechet-dist"
    ):
        kind(extractor=Given())


def test_the_same_distance_in_other_features_has_another_name():
    assert FrechetDistance(extractor=Given(called="clip-b32")).name == "fd-clip-b32"


def test_one_image_has_no_covariance():
    samples, reference = sets(count=1)
    for pair in [(samples, reference), (reference, samples)]:
        with pytest.raises(DataError, match="fid: samples: one image has no covariance; two are the least"):
            FID(extractor=Inception()).compute(pair[0], RealImages(pair[1]))
