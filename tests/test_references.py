"""References keep what was seen to the bit; ADM's are read as they are; those of another network are refused."""

import json

import numpy as np
import pytest
from attrs import frozen

from dit_toolkit import stop
from dit_toolkit.components import Extractor
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.extractors.fashion import Fashion
from dit_toolkit.extractors.pixels import Pixels
from dit_toolkit.imageset import ImageSet
from dit_toolkit.references import read_reference, write_reference

RNG = np.random.default_rng(0)


@frozen(kw_only=True)
class Inception(Extractor):
    """Stands for the network of the FID."""

    kind = "inception"

    def fingerprint(self):
        return "inception"

    def load(self, device="cpu"):
        return lambda images: {"features": images.reshape(len(images), -1)[:, :4].astype(np.float32)}


def make_set(n=30):
    return ImageSet(RNG.integers(0, 256, (n, 28, 28, 3), np.uint8), np.arange(n) % 10)


@pytest.mark.parametrize("features", [False, True])
def test_what_was_seen_comes_back_to_the_bit(tmp_path, features):
    images, path = make_set(), tmp_path / "ref.npz"
    write_reference(path, images, [Fashion(), Pixels(size=3)], {"split": "val"}, features=features)
    found = read_reference(path)
    for extractor, output in ((Fashion(), "features"), (Fashion(), "logits"), (Pixels(size=3), "features")):
        kept, seen = found.images.moments(extractor, output), images.moments(extractor, output)
        np.testing.assert_array_equal(kept.mean, seen.mean)
        np.testing.assert_array_equal(kept.covariance, seen.covariance)
        assert kept.count == 30
        if features:
            np.testing.assert_array_equal(found.images.seen(extractor, output), images.seen(extractor, output))
            assert found.images.labels.tolist() == images.labels.tolist()
        else:
            with pytest.raises(DataError, match="holds no images, only features of fashion, logits of fashion"):
                found.images.seen(extractor, output)
    assert (found.facts["count"], found.facts["split"]) == (30, "val")
    assert found.facts["extractors"] == [{"kind": "fashion"}, {"kind": "pixels", "size": 3, "grey": False}]
    assert [p.name for p in tmp_path.iterdir()] == ["ref.npz"]


def test_numpy_reads_it_without_pickle(tmp_path):
    write_reference(tmp_path / "ref.npz", make_set(), [Fashion()], {})
    with np.load(tmp_path / "ref.npz", allow_pickle=False) as file:
        assert file["fashion.features.mean"].shape == (128,)
        assert json.loads(str(file["meta"]))["count"] == 30


def test_another_network_is_refused(tmp_path):
    write_reference(tmp_path / "ref.npz", make_set(), [Pixels(size=3)], {})
    with pytest.raises(DataError, match="by extractor 'pixels' with fingerprint pixels-3, here it has pixels-4"):
        read_reference(tmp_path / "ref.npz").images.moments(Pixels(size=4))


@pytest.mark.parametrize("missing", [(), ("arr_0",), ("mu_s", "sigma_s"), ("mu", "sigma", "mu_s", "sigma_s")])
def test_an_adm_batch_is_read_as_it_is(tmp_path, missing):
    mean, covariance = RNG.normal(size=4), np.eye(4)
    arrays = {
        "arr_0": RNG.integers(0, 256, (7, 8, 8, 3), np.uint8),
        **{"mu": mean, "sigma": covariance, "mu_s": mean[:2], "sigma_s": covariance[:2, :2]},
    }
    np.savez(tmp_path / "adm.npz", **{name: array for name, array in arrays.items() if name not in missing})
    found = read_reference(tmp_path / "adm.npz").images
    if "mu" not in missing:
        np.testing.assert_array_equal(found.moments(Inception()).mean, mean)
    elif "arr_0" not in missing:
        expected = arrays["arr_0"].reshape(7, -1)[:, :4].mean(0)
        np.testing.assert_allclose(found.moments(Inception()).mean, expected)
    if "arr_0" not in missing:
        assert found.seen(Inception()).shape == (7, 4)
        assert not found.images.flags.owndata
    assert found.knows("inception", each=True) == ("arr_0" not in missing)
    assert found.knows("inception", "spatial") == ("mu_s" not in missing or "arr_0" not in missing)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "is no reference; it holds x"),
        (
            {"mu": np.zeros(3), "sigma": np.eye(4)},
            r"mu has shape \(3,\) and sigma \(4, 4\)",
        ),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "mu or sigma hold values that are not finite"),
        ({"meta": np.array("{}")}, "is no whole reference"),
        ({"meta": np.array('{"reference": 2}')}, "is a reference of version 2; this release reads version 1"),
        ({"arr_0": np.zeros((2, 4, 4, 3), np.float32)}, r"arr_0 is float32 .* become clamp\(127.5 x \+ 128\)"),
        ({"arr_0": np.zeros((2, 4, 4), np.uint8)}, r"arr_0 is uint8 \(2, 4, 4\); expected"),
    ],
)
def test_files_that_are_none(tmp_path, arrays, message):
    np.savez(tmp_path / "file.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_reference(tmp_path / "file.npz")


def test_truncated_and_missing_files(tmp_path):
    write_reference(tmp_path / "ref.npz", make_set(), [Fashion()], {})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "ref.npz").read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cut\.npz: cannot be read as an \.npz file"):
        read_reference(tmp_path / "cut.npz")
    with pytest.raises(DataError, match="no such file; a reference is made by"):
        read_reference(tmp_path / "none.npz")
    with pytest.raises(DataError, match="exists already"):
        write_reference(tmp_path / "ref.npz", make_set(), [Fashion()], {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fashion.features": np.full((30, 128), np.nan, np.float32)}, "features of 30 of 30 images hold values that"),
        ({"fashion.features": np.zeros((29, 128), np.float32)}, r"float32 \(29, 128\); expected float32 \(30, 128\)"),
        ({"fashion.features": np.zeros((30, 128))}, r"is float64 \(30, 128\); expected float32"),
        ({"labels": np.zeros(3, np.int64)}, r"labels are int64 \(3,\); expected int64 \(30,\)"),
        ({"fashion.logits.mean": None}, "is no whole reference"),
    ],
)
def test_what_was_changed_in_a_file_is_refused(tmp_path, changes, message):
    write_reference(tmp_path / "ref.npz", make_set(), [Fashion()], {}, features=True)
    with np.load(tmp_path / "ref.npz") as file:
        arrays = {**file, **changes}
    np.savez(tmp_path / "other.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=message):
        read_reference(tmp_path / "other.npz")


def test_half_of_a_pair_of_moments_is_refused(tmp_path):
    np.savez(tmp_path / "adm.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8), mu=np.zeros(3))
    with pytest.raises(DataError, match="holds one of mu and sigma alone; a distance needs both"):
        read_reference(tmp_path / "adm.npz")


def test_two_extractors_of_a_kind_need_two_files(tmp_path):
    with pytest.raises(DataError, match="two extractors of kind 'pixels'; a reference holds one of a kind"):
        write_reference(tmp_path / "ref.npz", make_set(), [Pixels(size=3), Pixels(size=4)], {})
    assert list(tmp_path.iterdir()) == []


def test_a_stop_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted):
        write_reference(tmp_path / "ref.npz", make_set(), [Fashion()], {})
    assert list(tmp_path.iterdir()) == []
