"""Checkpoints written beside the training: a copy of the moment, one at a time, and no error is lost."""

import json
import threading

import attrs
import pytest
import torch
from safetensors.torch import load_file

from dit_toolkit import checkpoint, distributed, load_recipe
from dit_toolkit.errors import CheckpointError, Interrupted, RecipeError, StorageError
from dit_toolkit.run import train
from dit_toolkit.training.ema import EMA
from dit_toolkit.training.saving import Saver
from dit_toolkit.training.state import load_state
from tests.conftest import ROOT, SMALL


@pytest.fixture
def recipe():
    return load_recipe(ROOT / "recipes/fashion.toml", set=SMALL)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.scalar = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(()))

    def forward(self, x, t, y):
        return (self.w * self.scalar).sum() * x


def start(recipe, optimizer=torch.optim.AdamW):
    net = Net()
    return recipe.train.backend.start(
        net,
        optimizer(net.parameters(), lr=0.1),
        precision="fp32",
        gradient_clipping=0.0,
        micro_batch_size=1,
        accumulation=1,
        device="cpu",
    )


def step(engine, ema=None):
    engine.backward(engine(torch.tensor(2.0), None, None))
    engine.step(0.1)
    if ema:
        ema.update(engine)


@pytest.fixture
def held(monkeypatch):
    """Hold the writing back until `held.set()`; `held.began` counts."""
    gate, save = threading.Event(), checkpoint.save
    gate.began = 0

    def wait(*arguments, **named):
        gate.began += 1
        assert gate.wait(20)
        return save(*arguments, **named)

    monkeypatch.setattr(checkpoint, "save", wait)
    yield gate
    gate.set()


def test_training_goes_on_meanwhile_and_the_moment_is_saved(recipe, tmp_path, held):
    engine = start(recipe)
    with Saver(tmp_path, recipe.train, {"recipe.toml": "text"}) as saver:
        step(engine)
        before = engine.state()
        saver.save(1, engine, {}, {"images_seen": 8})
        step(engine)
        assert not (tmp_path / "step-00000001").exists()
        held.set()
    path = tmp_path / "step-00000001"
    assert checkpoint.verify(path) == []
    assert (path / "recipe.toml").read_text() == "text"
    assert checkpoint.read_manifest(path)["images_seen"] == 8
    saved = load_file(path / "raw.safetensors")
    assert all((saved[name] == before[name]).all() for name in before)
    assert not (engine.state()["w"] == before["w"]).all()


def test_two_are_never_written_at_once(recipe, tmp_path, held):
    engine = start(recipe)
    with Saver(tmp_path, recipe.train, {}) as saver:
        saver.save(1, engine, {}, {})
        second = threading.Thread(target=saver.save, args=(2, engine, {}, {}))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        assert held.began == 1
        held.set()
        second.join()
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize(("aside", "free"), [(False, 10**12), (True, 10)])
def test_training_waits_where_it_is_told_to_or_memory_is_scarce(recipe, tmp_path, monkeypatch, capsys, aside, free):
    monkeypatch.setattr(distributed, "free_memory", lambda device: free)
    engine = start(recipe)
    with Saver(tmp_path, attrs.evolve(recipe.train, checkpoint_async=aside), {}) as saver:
        for number in (1, 2):
            saver.save(number, engine, {}, {})
            assert checkpoint.newest(tmp_path).name == f"step-0000000{number}"
    assert capsys.readouterr().err.count("training waits while a checkpoint is written") == (free == 10)


def fail(*arguments, **named):
    raise StorageError("the disk is full")


@pytest.mark.parametrize("aside", [True, False])
def test_an_error_of_writing_ends_the_training_at_the_next_step(recipe, tmp_path, monkeypatch, aside):
    monkeypatch.setattr(checkpoint, "save", fail)
    settings = attrs.evolve(recipe.train, max_steps=400, checkpoint_async=aside)
    with pytest.raises(StorageError, match="the disk is full"):
        train(attrs.evolve(recipe, train=settings), out=tmp_path / "run")
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert steps[-1] < 100


def test_an_error_of_writing_outweighs_a_stop_but_not_another_error(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "save", fail)
    engine = start(recipe)
    for error, seen in ((Interrupted("stopped"), StorageError), (RuntimeError("diverged"), RuntimeError)):
        saver = Saver(tmp_path, recipe.train, {})
        saver.save(1, engine, {}, {})
        with pytest.raises(seen), saver:
            raise error
    assert "the disk is full" in capsys.readouterr().err


def test_an_error_that_all_ranks_share_is_told_by_one(recipe, tmp_path, monkeypatch):
    for rank in (0, 1):
        saver = Saver(tmp_path, attrs.evolve(recipe.train, checkpoint_async=False), {})
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "gather", lambda *_: [StorageError("the disk is full")])
        with pytest.raises(StorageError) as caught:
            saver._write(1, {}, {}, {}, {})
        assert caught.value.told == (rank > 0)


class Kept(torch.optim.Optimizer):
    """Keeps one thing of each kind that an optimizer may keep."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    def step(self):
        for group in self.param_groups:
            group["seen"] = group.get("seen", 0) + 1
            for p in group["params"]:
                state = self.state[p]
                state["count"] = state.get("count", 0) + 1
                state["ratio"] = state["count"] / 3
                state["moment"] = torch.full_like(p, state["count"], dtype=torch.bfloat16)
                state["codes"] = torch.full_like(p, state["count"], dtype=torch.uint8)
                state["scales"] = torch.arange(4.0) * state["count"]
                state["step"] = torch.tensor(float(state["count"]))
                state["nothing"] = None


def test_whatever_an_optimizer_keeps_comes_back(recipe, tmp_path):
    """Tensors of the weights' shape in any precision, or of another, counts as tensors, as numbers, of groups."""
    engine, other = start(recipe, Kept), start(recipe, Kept)
    ema, second = EMA(engine, 0.5), EMA(other, 0.5)
    for _ in range(2):
        step(engine, ema)
    with Saver(tmp_path, recipe.train, {}) as saver:
        saver.save(2, engine, {"ema": ema}, {"ema_updates": 2})
    assert load_state(tmp_path / "step-00000002", other, {"ema": second}, recipe) == 2
    assert second.updates == 2
    for mine, theirs in zip(engine.shards(), other.shards(), strict=True):
        assert mine.group["seen"] == theirs.group["seen"] == 2
        assert theirs.state.keys() == mine.state.keys() - {"nothing"}
        for kind, value in theirs.state.items():
            assert type(value) is type(mine.state[kind])
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(mine.state[kind])), kind
            assert not isinstance(value, torch.Tensor) or value.dtype == mine.state[kind].dtype


@pytest.mark.parametrize(
    ("name", "message"),
    [("raw", "holds no scalar"), ("ema", r"w is \(1, 6\), expected \(2, 3\)"), ("optimizer", "cannot be read")],
)
def test_a_checkpoint_of_another_model_is_refused(recipe, tmp_path, name, message):
    from safetensors.torch import save_file

    engine = start(recipe)
    ema = EMA(engine, 0.5)
    step(engine, ema)
    with Saver(tmp_path, recipe.train, {}) as saver:
        saver.save(1, engine, {"ema": ema}, {"ema_updates": 1})
    path = tmp_path / f"step-00000001/{name}.safetensors"
    if name == "optimizer":
        path.write_bytes(path.read_bytes()[:20])
    else:
        save_file({"w": torch.ones(1, 6)} if name == "ema" else {"w": torch.ones(2, 3)}, path)
    with pytest.raises(CheckpointError, match=message):
        load_state(tmp_path / "step-00000001", engine, {"ema": ema}, recipe)


def test_one_of_an_earlier_version_is_told_apart(recipe, tmp_path):
    checkpoint.save(tmp_path, 1, {"engine.pt": [b""]}, size=0, keep=2)
    with pytest.raises(CheckpointError, match="made by an earlier version; it can be sampled from, but not be resumed"):
        load_state(tmp_path / "step-00000001", start(recipe), {}, recipe)


def test_every_kth_must_be_one_that_is_saved():
    with pytest.raises(RecipeError, match=r"checkpoint_keep_every \(25\) is not a multiple of checkpoint_every \(10\)"):
        load_recipe(ROOT / "recipes/fashion.toml", set=["train.checkpoint_every=10", "train.checkpoint_keep_every=25"])
