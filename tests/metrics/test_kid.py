"""KID against its definition, its expectation and its spread."""

import numpy as np
import pytest

from dit_toolkit import stop
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.metrics import kid
from dit_toolkit.metrics.kid import KID, discrepancy, draw
from tests.metrics.given import Given, Inception, normal, pair


def plain(x, y):
    """Equation 3 of Gretton et al. (2012), term by term."""

    def kernel(a, b):
        return (float(a.astype(float) @ b) / len(a) + 1) ** 3

    (m, n), terms = (len(x), len(y)), [0.0, 0.0, 0.0]
    terms[0] = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    terms[1] = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    terms[2] = sum(kernel(a, b) for a in x for b in y) / (m * n)
    return terms[0] + terms[1] - 2 * terms[2]


def test_it_is_named_after_any_extractor_but_inception():
    assert [KID(extractor=extractor).name for extractor in (Inception(), Given())] == ["kid", "kid-given"]


@pytest.mark.parametrize("counts", [(2, 2), (9, 14), (30, 5)])
def test_it_is_the_definition_also_for_sets_of_different_size(counts):
    x, y = (normal(count, 5, seed=count, scale=1 + i) for i, count in enumerate(counts))
    assert KID(extractor=Given()).compute(*pair(x, y)) == pytest.approx(plain(x, y), rel=1e-5)


def test_it_has_no_bias_and_its_error_is_its_spread():
    """The reference stays, so the expectation is a little off zero: by the same as that of a very large set."""
    metric, reference = KID(extractor=Given()), normal(400, 6, seed=1_000)
    values = [metric.compute(*pair(normal(60, 6, seed=seed, shift=0.3), reference)) for seed in range(200)]
    large = metric.compute(*pair(normal(900, 6, seed=2_000, shift=0.3), reference))
    spread = np.std(values)
    assert np.mean(values) == pytest.approx(large, abs=4 * spread * (1 / 200 + 60 / 900) ** 0.5)
    errors = [metric.error(*pair(normal(60, 6, seed=seed, shift=0.3), reference)) for seed in range(20)]
    assert np.mean(errors) == pytest.approx(spread, rel=0.4)


def test_subsets_have_the_same_expectation_and_a_larger_error():
    sets = pair(normal(500, 6, shift=0.3), normal(500, 6, seed=1))
    whole, few = (KID(extractor=Given(), subset_size=size, subsets=20) for size in (500, 50))
    error = few.error(*sets)
    assert error > whole.error(*sets)
    assert few.compute(*sets) == pytest.approx(whole.compute(*sets), abs=4 * error)


def test_subsets_are_drawn_without_replacement_and_do_not_depend_on_each_other():
    drawn = draw(3, 0, 50, 20)
    assert len(set(drawn.tolist())) == 20
    assert drawn.tolist() == sorted(drawn.tolist()) == draw(3, 0, 50, 20).tolist()
    assert drawn.tolist() != draw(4, 0, 50, 20).tolist() != draw(3, 1, 50, 20).tolist()
    assert draw(0, 0, 7, 20).tolist() == list(range(7))
    times = sum(np.bincount(draw(n, 0, 40, 10), minlength=40) for n in range(400))
    assert abs(times - 100).max() < 5 * 100**0.5  # each of 40 is in one of four


def test_whole_sets_are_compared_once_and_value_and_error_share_the_subsets(monkeypatch):
    counted = []
    monkeypatch.setattr(kid, "discrepancy", lambda x, y: counted.append(len(x)) or discrepancy(x, y))
    sets = pair(normal(30, 4), normal(25, 4, seed=1))
    for metric in (KID(extractor=Given()), KID(extractor=Given(), subset_size=28, subsets=3)):
        metric.compute(*sets)
        metric.error(*sets)
    assert counted == [30, 28, 28, 28]


def test_one_image_is_refused():
    for counts in [(1, 9), (9, 1)]:
        with pytest.raises(DataError, match=r"kid-given: . samples and . reference images; two of each"):
            KID(extractor=Given()).compute(*pair(*(normal(n, 3) for n in counts)))


def test_it_stops_when_it_is_asked_to(monkeypatch):
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted, match="subsets of images"):
        KID(extractor=Given()).compute(*pair(normal(5, 3), normal(5, 3)))
