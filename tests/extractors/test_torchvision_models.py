"""Classifiers of torchvision with local weights: their logits, what their last layer sees, and their own transforms."""

import re

import numpy as np
import pytest
import torch
import torchvision

from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.extractors.torchvision import Torchvision
from tests.extractors.networks import he_initialised

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(he_initialised(torchvision.models.squeezenet1_1(weights=None)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    network = he_initialised(torchvision.models.resnet18(weights=None))
    path = tmp_path_factory.mktemp("torch") / "hub/checkpoints/resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path.parents[2], network


def test_outputs_are_those_of_the_model(resnet, monkeypatch):
    home, network = resnet
    monkeypatch.setenv("TORCH_HOME", str(home))
    seen = Torchvision(model="resnet18", batch_size=1).load()(IMAGES)
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    with torch.no_grad():
        x = transform(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
        logits = network(x)
        network.fc = torch.nn.Identity()
        features = network(x)
    np.testing.assert_allclose(seen["logits"], logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
    np.testing.assert_allclose(seen["features"], features, rtol=1e-4, atol=1e-4 * float(features.abs().max()))


def with_older_names(state):
    """As torchvision's files of densenets name their layers."""
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value for name, value in kept.items()}


@pytest.mark.parametrize(
    ("model", "settings"),
    [("googlenet", {"init_weights": False}), ("densenet121", {}), ("mnasnet0_5", {})],
    ids=["inputs scaled", "older names", "versions of modules"],
)
def test_networks_are_those_that_torchvision_builds_for_the_weights(model, settings, tmp_path, monkeypatch):
    state = he_initialised(torchvision.models.get_model(model, weights=None, **settings)).state_dict()
    torch.save(with_older_names(state) if model == "densenet121" else state, path := tmp_path / "model.pth")
    seen = Torchvision(model=model, path=str(path)).load()(IMAGES)
    loaded = torch.load(path, weights_only=True)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: loaded)
    weights = torchvision.models.get_model_weights(model).DEFAULT
    with torch.no_grad():
        network = torchvision.models.get_model(model, weights=weights).eval()
        logits = network(weights.transforms()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)))
    np.testing.assert_allclose(seen["logits"], logits, rtol=0, atol=1e-4 * float(logits.abs().max()))


def test_a_model_without_a_linear_layer_is_refused(path):
    with pytest.raises(DataError, match="has no linear layer"):
        Torchvision(model="squeezenet1_1", path=str(path)).load()


def test_names_tell_networks_apart():
    assert Torchvision(model="resnet50").name == "resnet50"
    assert Torchvision(model="resnet50", weights="IMAGENET1K_V1").name == "resnet50-IMAGENET1K_V1"


def test_faults_are_named(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"extractor\.model: torchvision classifies with no 'resnet19'"):
        Torchvision(model="resnet19").load()
    with pytest.raises(DataError, match=r"extractor\.weights: resnet18 has no 'V9'; it has IMAGENET1K_V1"):
        Torchvision(model="resnet18", weights="V9").load()
    with pytest.raises(MissingDataError, match="the weights of torchvision's resnet18 are not in"):
        Torchvision(model="resnet18").fingerprint()
    with pytest.raises(DataError, match="holds the weights of another network"):
        Torchvision(model="resnet18", path=str(path)).load()
