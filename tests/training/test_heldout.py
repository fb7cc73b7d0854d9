"""The loss on held-out images, against closed forms."""

import numpy as np
import pytest
import torch

from dit_toolkit import load_recipe, stop
from dit_toolkit.errors import DataError
from dit_toolkit.random import Generator
from dit_toolkit.training.heldout import TIMES, HeldOut
from dit_toolkit.training.lockstep import Stopped
from tests.conftest import ROOT, SMALL


def recipe(*changes):
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, *changes])


def zero(x, t, y):
    return torch.zeros_like(x)


class Grey:
    """Seventy images of one grey, of three classes in order."""

    labels = np.repeat([0, 1, 2], [30, 30, 10])

    def __len__(self):
        return len(self.labels)

    def batch(self, indices, generator=None):
        assert generator is None  # nothing is mirrored or drawn
        return torch.full((len(indices), 1, 32, 32), 0.25), torch.from_numpy(self.labels[indices])


@pytest.fixture
def grey(monkeypatch):
    split = Grey()
    monkeypatch.setattr("dit_toolkit.training.heldout.open_data", lambda *_: (split, lambda x, _: x))
    return split


def test_a_network_that_is_off_by_a_half_has_the_squared_error_of_the_velocity(grey):
    """The data is one constant, which the network returns, plus 1/2; the velocity's error is 1/t times that of x0."""
    found = HeldOut(recipe(), "cpu").loss(lambda x, t, y: torch.full_like(x, 0.75))
    assert found.by_time == pytest.approx({t: 0.25 / t**2 for t in TIMES}, rel=1e-6)
    assert found.mean == pytest.approx(sum(0.25 / t**2 for t in TIMES) / 8)
    assert found.images == 70


def test_a_network_that_returns_zero_has_the_mean_square_of_noise_that_follows_from_the_images_number(grey):
    held_out = HeldOut(recipe("objective={kind='ddpm',learn_sigma=false}", "sample.sampler={kind='ddim'}"), "cpu")
    found = held_out.loss(zero)
    generator = Generator(0, "validate", range(70))
    for time, loss in found.by_time.items():
        assert loss == pytest.approx(float(generator.randn(1, 32, 32).double().square().mean()), rel=1e-6), time
    assert found == held_out.loss(zero)
    assert found == HeldOut(recipe("seed=5", "objective={kind='ddpm',learn_sigma=false}"), "cpu").loss(zero)


def test_every_image_is_seen_at_every_time_with_its_own_class_and_never_with_the_null_class(grey):
    seen = []

    def network(x, t, y):
        seen.append((t.tolist(), y.tolist()))
        return torch.zeros_like(x)

    HeldOut(recipe("model.class_dropout_prob=0.9"), "cpu").loss(network)
    times, labels = zip(*seen, strict=True)
    assert sorted(np.concatenate(labels).tolist()) == sorted(np.repeat(grey.labels, 8).tolist())
    assert len({tuple(t) for t in times if len(t) == 32}) == 8


def test_fewer_images_are_spread_over_the_split(grey):
    held_out = HeldOut(recipe("train.validate_images=7"), "cpu")
    assert held_out.items.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert set(grey.labels[held_out.items]) == {0, 1, 2}


def test_the_names_in_the_log(grey):
    names = list(HeldOut(recipe(), "cpu").loss(zero).as_dict())
    assert names == [
        "val_loss",
        *(f"val_loss/{k}" for k in (0.0625, 0.1875, 0.3125, 0.4375, 0.5625, 0.6875, 0.8125, 0.9375)),
    ]


def test_a_split_without_images_is_refused(grey, monkeypatch):
    monkeypatch.setattr(Grey, "labels", np.zeros(0, np.int64))
    with pytest.raises(DataError, match=r"dataset: 'fashion' holds out no images"):
        HeldOut(recipe(), "cpu")


def test_a_signal_ends_it(grey, monkeypatch):
    monkeypatch.setattr(stop, "_requested", "SIGTERM")
    with pytest.raises(Stopped):
        HeldOut(recipe(), "cpu").loss(zero)
