"""Networks of timm with local weights: what their head sees, their logits, the class token, their own transforms."""

import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config

from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.extractors.timm import Timm
from tests.extractors.networks import he_initialised

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)
DINO = "vit_small_patch14_dinov2.lvd142m"


@pytest.fixture(scope="module", params=["test_resnet.r160_in1k", "test_vit.r160_in1k"])
def classifier(request, tmp_path_factory):
    return save(request.param, tmp_path_factory.mktemp("weights") / "model.safetensors")


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    return save(DINO, tmp_path_factory.mktemp("weights") / "pytorch_model.bin")


def save(name, path):
    """The network's name, its file, and itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # Tokens and positions, which `he_initialised` leaves as they are.
        network = he_initialised(timm.create_model(name))
    (save_file if path.suffix == ".safetensors" else torch.save)(network.state_dict(), path)
    return name, str(path), network


def transformed(network, images, **config):
    """As timm does it, one picture of pillow at a time."""
    transform = create_transform(**resolve_data_config(config, model=network))
    return torch.stack([transform(Image.fromarray(image)) for image in images])


def close(seen, expected, tolerance):
    np.testing.assert_allclose(seen, expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


def test_outputs_are_those_of_the_model(classifier):
    """Images of pillow are resized with coarser weights than tensors: within a grey level or so."""
    name, path, network = classifier
    seen = Timm(model=name, path=path, batch_size=1).load()(IMAGES)
    with torch.no_grad():
        x = transformed(network, IMAGES)
        logits = network(x)
        network.reset_classifier(0)
        features = network(x)
    close(seen["logits"], logits.numpy(), 0.02)
    close(seen["features"], features.numpy(), 0.02)


def test_images_that_need_no_resizing_are_seen_exactly_alike(classifier):
    name, path, _ = classifier
    network = timm.create_model(name).eval()
    network.load_state_dict(load_file(path))
    [resize, *_] = create_transform(**resolve_data_config({}, model=network)).transforms
    images = np.random.default_rng(1).integers(0, 256, (2, resize.size, resize.size, 3), np.uint8)
    with torch.no_grad():
        logits = network(transformed(network, images))
    close(Timm(model=name, path=path).load()(images)["logits"], logits.numpy(), 1e-5)


def test_features_of_dinov2_are_the_class_token_at_the_size_asked_for(dino):
    name, path, network = dino
    seen = Timm(model=name, path=path, size=56).load()(IMAGES)
    network.set_input_size(56)
    with torch.no_grad():
        tokens = network.forward_features(transformed(network, IMAGES, input_size=(3, 56, 56)))
    assert tokens.shape == (2, 1 + 16, 384)
    assert list(seen) == ["features"]
    close(seen["features"], tokens[:, 0].numpy(), 0.02)


def test_a_size_that_patches_do_not_divide_is_refused(dino):
    name, path, _ = dino
    with pytest.raises(DataError, match=rf"extractor\.size: {DINO} has patches of 14, which do not divide 57"):
        Timm(model=name, path=path, size=57).load()


def test_names_and_fingerprints_tell_settings_apart(dino):
    name, path, _ = dino
    plain, small = Timm(model=name, path=path), Timm(model=name, path=path, size=56)
    assert (plain.name, small.name) == (DINO, f"{DINO}-56")
    assert plain.fingerprint() != small.fingerprint()


def test_faults_are_named(classifier, tmp_path):
    name, path, _ = classifier
    with pytest.raises(
        DataError, match=r"extractor\.model: timm has no 'test_resnet\.zzz'; it has test_resnet\.r160_in1k"
    ):
        Timm(model="test_resnet.zzz", path=path).load()
    with pytest.raises(
        MissingDataError, match=r"extractor\.path: no\.pth is no file; it takes the weights of timm's"
    ) as e:
        Timm(model=name, path="no.pth").fingerprint()
    assert e.value.commands == (f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors",)
    with pytest.raises(DataError, match="holds the weights of another network") as other:
        Timm(model=DINO, path=path).load()
    assert other.value.lines[1].startswith("  missing: ")


@pytest.mark.parametrize("shape", [(), (-1,)])
def test_weights_of_other_ranks_are_refused(classifier, tmp_path, shape):
    """Filters of timm that rename and resize weights stumble over them in ways of their own."""
    name, _, network = classifier
    state = {key: value.flatten()[0] if shape == () else value.flatten() for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(DataError, match="holds the weights of another network") as error:
        Timm(model=name, path=str(tmp_path / "other.pth")).load()
    assert any(line.startswith("  of another shape: ") for line in error.value.lines)


def test_an_empty_file_is_not_made_up_for_from_the_hub(tmp_path):
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(DataError, match="holds the weights of another network"):
        Timm(model="test_resnet.r160_in1k", path=str(tmp_path / "empty.pth")).load()


def test_without_timm_it_says_how_to_get_it(classifier, monkeypatch):
    name, path, _ = classifier
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DataError, match=r"needs the package timm .*pip install 'dit-toolkit\[evaluate\]'"):
        Timm(model=name, path=path).load()
