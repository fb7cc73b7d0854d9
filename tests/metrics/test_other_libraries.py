"""The same features have the same values in torch-fidelity and in torchmetrics."""

import warnings

import numpy as np
import pytest
import torch

from dit_toolkit.metrics.frechet_distance import FrechetDistance
from dit_toolkit.metrics.inception_score import InceptionScore
from dit_toolkit.metrics.kid import KID, draw
from dit_toolkit.metrics.precision import Precision
from dit_toolkit.metrics.recall import Recall
from tests.metrics.given import Given, make_set, normal, pair

X, Y = normal(400, 48, shift=0.1, scale=1.2, seed=1), normal(300, 48, seed=2)
LOGITS = 2 * normal(700, 30, seed=3)


class Features(torch.nn.Module):
    """What torchmetrics asks for features: given ones."""

    num_features = 48

    def forward(self, x):
        return x.double()


@pytest.fixture(scope="module")
def fidelity():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    class Fidelity:
        fid, isc, kid, prc = metric_fid, metric_isc, metric_kid, metric_prc

    return Fidelity


@pytest.fixture(scope="module")
def torchmetrics():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.inception import InceptionScore
        from torchmetrics.image.kid import KernelInceptionDistance

    def make(cls, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cls(**options)

    class Torchmetrics:
        @staticmethod
        def frechet():
            return make(FrechetInceptionDistance, feature=Features()).set_dtype(torch.float64)

        @staticmethod
        def kid(**options):
            return make(KernelInceptionDistance, feature=Features(), **options)

        @staticmethod
        def score(**options):
            return make(InceptionScore, feature=torch.nn.Identity(), **options)

    return Torchmetrics


def both(metric, x=X, y=Y):
    metric.update(torch.from_numpy(x), real=False)
    metric.update(torch.from_numpy(y), real=True)
    return metric.compute()


@pytest.mark.parametrize("count", [400, 30], ids=["full rank", "fewer samples than features"])
def test_frechet_distance(fidelity, torchmetrics, count):
    value = FrechetDistance(extractor=Given()).compute(*pair(X[:count], Y))
    one, other = (fidelity.fid.fid_features_to_statistics(torch.from_numpy(z).double()) for z in (X[:count], Y))
    expected = fidelity.fid.fid_statistics_to_metric(one, other, verbose=False)["frechet_inception_distance"]
    assert value == pytest.approx(expected, rel=1e-6)
    assert value == pytest.approx(float(both(torchmetrics.frechet(), X[:count])), rel=1e-6)


def kid_of(fidelity, x, y):
    tensors = (torch.from_numpy(z).double() for z in (x, y))
    found = fidelity.kid.kid_features_to_metric(
        *tensors, kid_subsets=1, kid_subset_size=len(x), rng_seed=0, verbose=False
    )
    return found["kernel_inception_distance_mean"]


def test_kid_of_whole_sets(fidelity, torchmetrics):
    value = KID(extractor=Given()).compute(*pair(X[:300], Y))
    assert value == pytest.approx(kid_of(fidelity, X[:300], Y), rel=1e-6)
    mean, _ = both(torchmetrics.kid(subsets=1, subset_size=300), X[:300])
    assert value == pytest.approx(float(mean), rel=1e-6)


def test_kid_of_the_same_subsets(fidelity):
    value = KID(extractor=Given(), subsets=7, subset_size=50).compute(*pair(X, Y))
    expected = [kid_of(fidelity, X[draw(n, 0, 400, 50)], Y[draw(n, 1, 300, 50)]) for n in range(7)]
    assert value == pytest.approx(np.mean(expected), rel=1e-6)


def test_inception_score(fidelity, torchmetrics):
    value = InceptionScore(extractor=Given(), split_size=70).compute(make_set(logits=LOGITS), None)
    found = fidelity.isc.isc_features_to_metric(torch.from_numpy(LOGITS), splits=10, shuffle=False)
    assert value == pytest.approx(found["inception_score_mean"], rel=1e-12)
    whole = torchmetrics.score(splits=1)  # it shuffles, which changes nothing in one split
    whole.update(torch.from_numpy(LOGITS).double())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the deviation of one score
        expected = float(whole.compute()[0])
    one = InceptionScore(extractor=Given()).compute(make_set(logits=LOGITS), None)
    assert one == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_precision_and_recall(fidelity, k):
    found = fidelity.prc.prc_features_to_metric(
        *(torch.from_numpy(z).double() for z in (X, Y)),
        prc_neighborhood=k, prc_batch_size=100, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    options = {"extractor": Given(), "k": k}
    values = [metric(**options).compute(*pair(X, Y)) for metric in (Precision, Recall)]
    assert values == pytest.approx([found["precision"], found["recall"]], rel=1e-6)
    assert 0 < values[0] < 1
    assert 0 < values[1] < 1
