"""The FID's network against torch-fidelity's, with the same weights; and what becomes of other files."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.extractors.inception import URLS, Inception
from dit_toolkit.extractors.weights import read_state
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.frechet_distance import frechet_distance
from dit_toolkit.moments import Moments
from dit_toolkit.nn import inception
from tests.extractors.networks import he_initialised

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """torch.hub's folder with random weights under the name of torch-fidelity's file."""
    home = tmp_path_factory.mktemp("torch")
    path = home / "hub/checkpoints" / URLS[0].rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(he_initialised(inception.Inception()).state_dict(), path)
    return home


@pytest.fixture
def found(folder, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(folder))
    return folder / "hub/checkpoints" / URLS[0].rpartition("/")[2]


def make_images(n, height, width):
    return RNG.integers(0, 256, (n, height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 150), (299, 299), (310, 300)])
def test_outputs_are_those_of_torch_fidelity(found, height, width):
    theirs = FeatureExtractorInceptionV3("theirs", ["2048", "logits_unbiased"], str(found))
    kept = []
    theirs.Mixed_6d.branch1x1.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    images = make_images(2, height, width)
    with torch.no_grad():
        features, logits = theirs(torch.from_numpy(images).permute(0, 3, 1, 2))
    [spatial] = kept
    expected = {"features": features, "logits": logits, "spatial": spatial[:, :7].permute(0, 2, 3, 1).flatten(1)}
    seen = Inception(batch_size=1).load()(images)
    assert {name: values.shape for name, values in seen.items()} == {
        "features": (2, 2048),
        "logits": (2, 1008),
        "spatial": (2, 2023),
    }
    for name, values in expected.items():
        scale = float(values.abs().max())
        np.testing.assert_allclose(seen[name], values.numpy(), rtol=0, atol=1e-5 * scale)


def test_the_distance_of_both_features_is_the_same(found):
    """Of every 16th feature: torch-fidelity takes the root of the whole product, which needs half a minute for all."""
    theirs = FeatureExtractorInceptionV3("theirs", ["2048"], str(found))
    sets = [make_images(6, 32, 32), make_images(5, 32, 32) // 2]
    ours = [Moments.of(ImageSet(images).seen(Inception())[:, ::16]) for images in sets]
    with torch.no_grad():
        features = [theirs(torch.from_numpy(images).permute(0, 3, 1, 2))[0][:, ::16].double() for images in sets]
    stats = [fid_features_to_statistics(each) for each in features]
    expected = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(*ours) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 2, 300, 7), (1, 1, 640, 299), (1, 1, 1, 1)])
def test_resizing_is_that_of_tensorflow_1(shape):
    x = torch.from_numpy(RNG.integers(0, 256, shape).astype(np.float32))
    expected = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
    torch.testing.assert_close(inception.resize(x, 299), expected, rtol=0, atol=2e-3)


def test_pytorch_fids_file_is_the_same_network(found, tmp_path):
    """Its keys are the same, without the counters of the normalisations."""
    path = tmp_path / "anything.pth"
    state = torch.load(found, weights_only=True)
    torch.save({name: value for name, value in state.items() if "num_batches_tracked" not in name}, path)
    images = make_images(2, 32, 32)
    a, b = (Inception(path=path and str(path)) for path in (None, path))
    np.testing.assert_array_equal(a.load()(images)["features"], b.load()(images)["features"])
    assert a.fingerprint() == b.fingerprint()


def test_a_changed_weight_is_another_fingerprint(found, tmp_path):
    path = tmp_path / "other.pth"
    state = torch.load(found, weights_only=True)
    state["fc.bias"][3] += 1
    torch.save(state, path)
    assert Inception().fingerprint() != Inception(path=str(path)).fingerprint()


def test_missing_weights_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingDataError) as error:
        Inception().load()
    assert str(tmp_path / "hub/checkpoints") in error.value.line
    assert error.value.commands == tuple(
        f"curl -L --create-dirs -o {tmp_path / 'hub/checkpoints' / url.rpartition('/')[2]} {url}" for url in URLS
    )
    with pytest.raises(MissingDataError, match=r"extractor\.path: nowhere\.pth is no file; it takes the weights of"):
        Inception(path="nowhere.pth").fingerprint()


def test_weights_of_another_network_are_named(found, tmp_path):
    state = torch.load(found, weights_only=True)
    state["head.weight"] = state.pop("fc.weight")
    state["fc.bias"] = torch.zeros(1000)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(DataError) as error:
        Inception(path=str(tmp_path / "other.pth")).load()
    assert list(error.value.lines[1:]) == [
        "  missing: fc.weight",
        "  not of this network: head.weight",
        "  of another shape: fc.bias ((1000,) there, (1008,) here)",
    ]


@pytest.mark.parametrize("method", ["fingerprint", "load"])
def test_missing_weights_are_found_missing_without_torch(method, tmp_path):
    code = f"""import sys
from dit_toolkit.errors import MissingDataError
from dit_toolkit.extractors.inception import Inception
try:
    Inception().{method}()
except MissingDataError:
    sys.exit("torch" in sys.modules)
sys.exit("nothing is missing")"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TORCH_HOME": str(tmp_path)}, check=True)


def test_weights_of_any_precision_have_a_fingerprint(tmp_path):
    """Also where numpy has no such type."""
    found = set()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        torch.save({"w": torch.zeros(3, dtype=dtype)}, path := tmp_path / f"{dtype}.pth")
        found.add(Inception(path=str(path)).fingerprint())
    assert len(found) == 3


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_bytes_are_told_as_such(tmp_path):
    """Any of 300 files with bytes that are others or missing is read, or refused by DataError."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(5)}, buffer, _use_new_zipfile_serialization=False)
    path, refused = tmp_path / "weights.pth", 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        content = np.frombuffer(buffer.getvalue(), np.uint8).copy()
        content[generator.integers(0, len(content), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(content[: generator.integers(1, 2 * len(content))].tobytes())
        try:
            read_state(path, "weights")
        except DataError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_files_that_are_none(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"extractor\.path: .*weights\.pth cannot be read; it takes the weights"):
        Inception(path=str(path)).load()


def test_a_file_with_other_things(tmp_path):
    path = tmp_path / "weights.pth"
    for content in ([torch.zeros(3)], {0: torch.zeros(3)}, {"state_dict": {"w": torch.zeros(3)}}):
        torch.save(content, path)
        with pytest.raises(DataError, match="holds no table of tensors"):
            Inception(path=str(path)).load()
