"""Losses and gradients that are not finite, spikes, and what the policies make of them."""

import json
import math

import numpy as np
import pytest
import torch

from dit_toolkit import checkpoint, load_recipe
from dit_toolkit.errors import NonFiniteError
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.training import faults as faults_module
from dit_toolkit.training import loop
from dit_toolkit.training.data import open_data
from dit_toolkit.training.order import Order
from tests.conftest import ROOT

TINY = [
    'dataset={kind="synthetic", image_size=8, num_classes=4, num_images=40}',
    "model={hidden_size=8, depth=1, num_heads=2, num_classes=4, patchifier={patch_size=4}}",
    "train.max_steps=12",
    "train.global_batch_size=4",
    "train.micro_batch_size=2",
    "train.log_every=1",
    "train.validate_every=0",
    "train.sample_every=0",
    "train.checkpoint_every=3",
    "train.checkpoint_keep=100",
    "train.ema_decay=0.5",
    'train.precision="fp32"',
    "train.lr_warmup_steps=0",
    'train.lr_schedule="constant"',
]
SINGLE, DEEPSPEED = 'train.backend={kind="single"}', 'train.backend={kind="deepspeed", zero_stage=1}'


def tiny(*changes, backend=SINGLE):
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*TINY, backend, *changes])


class BadGradient(torch.autograd.Function):
    """The identity, with a gradient that is not a number."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * math.nan


@pytest.fixture
def spoil(monkeypatch):
    """Make a batch go wrong in one way where it holds one item of the data set, while the number of goes lasts."""

    def arrange(way, item, goes=10**9):
        left = [goes]
        original = FlowMatching.loss

        def opened(*arguments):
            split, encode = open_data(*arguments)
            take = split.batch

            def batch(indices, generator=None):
                x, y = take(indices, generator)
                if item in indices and left[0] > 0:
                    left[0] -= 1
                    x = torch.where(torch.as_tensor(indices == item)[:, None, None, None], math.nan, x)
                return x, y

            split.batch = batch
            return split, encode

        def loss(self, model, x0, y, *, generator):
            value = original(self, model, x0, y, generator=generator)
            row = torch.as_tensor(Order(0, 40)[generator.index.numpy()] == item)
            if not row.any():
                return value
            if way == "gradient":
                return torch.where(row, BadGradient.apply(value), value)
            return torch.where(row, value * (math.inf if way == "loss" else 1e3), value)

        if way == "data":
            monkeypatch.setattr(loop, "open_data", opened)
        elif way != "none":
            monkeypatch.setattr(FlowMatching, "loss", loss)
        else:
            monkeypatch.undo()

    return arrange


def train(recipe, folder, resume=None):
    folder.mkdir(exist_ok=True)
    return loop.train(recipe, folder, files={}, resume=resume)


def report(folder):
    return [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def digest(path):
    manifest = checkpoint.read_manifest(path)
    return {name: manifest["files"][name] for name in ("raw.safetensors", "ema.safetensors")}


def order(recipe):
    """Items of each of the first steps."""
    shuffled = Order(recipe.seed, 40)
    size = recipe.train.global_batch_size
    return [shuffled[np.arange(step * size, (step + 1) * size)].tolist() for step in range(30)]


def item_of(step):
    """An item that is in the batch of a step (counted from 1), and in no other of the first ten."""
    return order(tiny())[step - 1][1]


@pytest.mark.parametrize("backend", [SINGLE, DEEPSPEED], ids=["single", "deepspeed"])
@pytest.mark.parametrize("way", ["data", "loss", "gradient"])
def test_stop_names_step_and_images_and_leaves_the_last_checkpoint(spoil, tmp_path, way, backend):
    item = item_of(5)
    spoil(way, item)
    with pytest.raises(NonFiniteError, match=r"step 5: the \w+ is not finite") as caught:
        train(tiny(backend=backend), tmp_path / "run")
    assert caught.value.exit_code == 4
    assert [p.name for p in checkpoint.checkpoints(tmp_path / "run/checkpoints")] == ["step-00000003"]
    [entry] = report(tmp_path / "run")
    assert (entry["step"], entry["action"]) == (5, "stop")
    assert entry["fault"] == f"the {'gradient' if way == 'gradient' else 'loss'} is not finite"
    [rank] = entry["ranks"]
    assert rank["rank"] == 0
    assert rank["indices"] == order(tiny())[4]
    if way != "gradient":
        assert rank["suspects"][0] == {"index": item, "loss": "nan" if way == "data" else "inf"}
        assert isinstance(rank["suspects"][1]["loss"], float)


@pytest.mark.parametrize("backend", [SINGLE, DEEPSPEED], ids=["single", "deepspeed"])
def test_a_skipped_step_changes_nothing_but_the_count(spoil, tmp_path, backend, monkeypatch):
    """The weights after the skipped step are those before it, bit for bit, and the average was not updated."""
    spoil("gradient", item_of(3))
    recipe = tiny('train.non_finite="skip"', "train.checkpoint_every=1", backend=backend)
    assert train(recipe, tmp_path / "run") == 12
    paths = checkpoint.checkpoints(tmp_path / "run/checkpoints")
    digests = [digest(path) for path in paths]
    assert [i + 2 for i in range(11) if digests[i] == digests[i + 1]] == [3]
    updates = [checkpoint.read_manifest(path)["ema_updates"] for path in paths]
    assert updates == [1, 2, 2, *range(3, 12)]
    assert [entry["step"] for entry in report(tmp_path / "run")] == [3]
    metrics = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert all(math.isfinite(json.loads(line)["grad_norm"]) for line in metrics)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_resuming_around_a_fault_is_exact(spoil, tmp_path, policy):
    """Stopped anywhere and resumed, the run ends with the weights of the run that went through."""
    spoil("data", item_of(5))
    settings = [f'train.non_finite="{policy}"', "train.spike_factor=50.0"]
    train(tiny(*settings), tmp_path / "whole")
    for stop in (3, 4, 6, 9):
        folder = tmp_path / f"stopped-{stop}"
        train(tiny(*settings, f"train.max_steps={stop}"), folder)
        train(tiny(*settings), folder, resume=checkpoint.newest(folder / "checkpoints"))
        assert digest(folder / "checkpoints/step-00000012") == digest(tmp_path / "whole/checkpoints/step-00000012")


def test_rollback_goes_back_and_takes_the_data_behind_the_fault(spoil, tmp_path, monkeypatch):
    item, taken = item_of(5), []
    spoil("data", item)
    judge = loop.Faults.judge

    def noting(self, step, loss, update, weights, seen):
        taken.append((step, np.concatenate(seen.items).tolist()))
        return judge(self, step, loss, update, weights, seen)

    monkeypatch.setattr(loop.Faults, "judge", noting)
    train(tiny('train.non_finite="rollback"'), tmp_path / "run")
    [entry] = report(tmp_path / "run")
    assert (entry["step"], entry["action"]) == (5, "rollback")
    batches = order(tiny())
    assert taken == [
        *((step, batches[step - 1]) for step in range(1, 6)),
        *((step, batches[step + 1]) for step in range(4, 13)),  # Two steps were undone: their images are passed over.
    ]
    assert steps(tmp_path / "run") == list(range(1, 13))
    newest = checkpoint.newest(tmp_path / "run/checkpoints")
    assert checkpoint.read_manifest(newest)["faults"]["passed_over"] == 2 * 4


def test_rollback_restores_weights_average_and_optimizer(spoil, tmp_path):
    """Gone back once, then trained on: as if the run had been resumed from that checkpoint with the later data."""
    spoil("data", item_of(5), goes=1)
    train(tiny('train.non_finite="rollback"'), tmp_path / "run")
    spoil("none", -1)
    other = tmp_path / "other"
    train(tiny("train.max_steps=3"), other)
    manifest = other / "checkpoints/step-00000003/manifest.json"
    facts = json.loads(manifest.read_text())
    facts["faults"]["passed_over"] = 8
    manifest.write_text(json.dumps(facts))
    train(tiny(), other, resume=other / "checkpoints/step-00000003")
    assert digest(other / "checkpoints/step-00000012") == digest(tmp_path / "run/checkpoints/step-00000012")


def test_before_the_first_checkpoint_a_step_is_skipped(spoil, tmp_path):
    spoil("data", item_of(2))
    train(tiny('train.non_finite="rollback"'), tmp_path / "run")
    assert [entry["action"] for entry in report(tmp_path / "run")] == ["skip"]


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_the_limit_ends_it(spoil, tmp_path, policy, monkeypatch):
    """A model that is broken for good is not skipped, or gone back with, for ever."""
    recipe = tiny(f'train.non_finite="{policy}"', "train.non_finite_limit=2", "train.max_steps=30")
    original = FlowMatching.loss
    calls = []

    def loss(self, *arguments, **named):
        calls.append(1)
        return original(self, *arguments, **named) * (math.nan if len(calls) > 8 else 1)

    monkeypatch.setattr(FlowMatching, "loss", loss)
    with pytest.raises(NonFiniteError):
        train(recipe, tmp_path / "run")
    assert [entry["action"] for entry in report(tmp_path / "run")] == [policy, policy, "stop"]


def test_the_row_ends_with_a_sound_step(spoil, tmp_path):
    """Single bad steps in many do not add up."""
    item = item_of(3)  # Comes again in each epoch of ten steps.
    spoil("data", item)
    train(tiny('train.non_finite="skip"', "train.non_finite_limit=1", "train.max_steps=35"), tmp_path / "run")
    assert len(report(tmp_path / "run")) >= 3


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_spike_is_a_fault_where_a_factor_is_given(spoil, tmp_path, policy):
    settings = ["train.max_steps=30", f'train.non_finite="{policy}"']
    spoil("spike", item_of(5))  # Also at the steps that have its item in later epochs, the last of them beyond 20.
    train(tiny(*settings), tmp_path / "ignored")
    assert not (tmp_path / "ignored/faults.jsonl").exists()
    if policy == "stop":
        with pytest.raises(NonFiniteError, match=r"step \d+: the loss is [\d.]+ times the median of the last 2\d"):
            train(tiny(*settings, "train.spike_factor=20.0"), tmp_path / "run")
    else:
        assert train(tiny(*settings, "train.spike_factor=20.0"), tmp_path / "run") == 30
    [entry] = report(tmp_path / "run")
    assert entry["step"] > faults_module.LEAST
    assert entry["ranks"][0]["suspects"][0]["index"] == item_of(5)


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    """Whatever spoilt them: they are looked at before every checkpoint."""
    from dit_toolkit.training.ema import EMA

    update = EMA.update

    def spoiling(self, engine):
        update(self, engine)
        if self.updates == 5:
            self.shadow[0].view(-1)[0] = math.inf

    monkeypatch.setattr(EMA, "update", spoiling)
    with pytest.raises(NonFiniteError, match="step 6: the weights are not finite"):
        train(tiny('train.non_finite="skip"'), tmp_path / "run")
    assert [p.name for p in checkpoint.checkpoints(tmp_path / "run/checkpoints")] == ["step-00000003"]
    monkeypatch.setattr(EMA, "update", update)
