"""Looking at a model in training leaves the training as it is."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from dit_toolkit import load_recipe, stop, watchdog
from dit_toolkit.backends.single import SingleEngine
from dit_toolkit.build import build_model
from dit_toolkit.errors import RecipeError
from dit_toolkit.evaluation import evaluate
from dit_toolkit.training.drawing import Drawing
from dit_toolkit.training.ema import EMA
from dit_toolkit.training.heldout import HeldOut
from dit_toolkit.training.judging import Judge
from dit_toolkit.training.lockstep import Stopped
from dit_toolkit.training.loop import train
from dit_toolkit.training.pictures import COLUMNS, Pictures
from dit_toolkit.training.state import Log
from dit_toolkit.training.watch import Watch
from tests.conftest import ROOT, SMALL

LOOKS = [
    *("train.validate_every=2", "train.validate_images=40", "train.sample_every=3", "sample.sampler.num_steps=2"),
    *("train.evaluate_every=4", "train.evaluate_samples=20"),
]


def recipe(*changes):
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "train.log_every=100", *changes])


@pytest.mark.parametrize(("owner", "work"), [(SingleEngine, "backward"), (HeldOut, "_losses")])
def test_every_part_of_a_long_step_is_a_sign_of_life(tmp_path, monkeypatch, owner, work):
    """A step of many micro-batches may take longer than a process may be silent."""
    events = []
    beat, original = watchdog.beat, getattr(owner, work)
    monkeypatch.setattr(watchdog, "beat", lambda: [beat(), events.append("beat")])
    monkeypatch.setattr(owner, work, lambda *given: [events.append("work"), original(*given)][1])
    train(recipe("train.micro_batch_size=1", "train.validate_every=2", "train.validate_images=150"), tmp_path, files={})
    assert events.count("work") >= 6
    assert ("work", "work") not in set(pairwise(events))


@pytest.fixture
def started(tmp_path):
    """(watch, engine, average, log) of a small model in bf16 whose average is another than its weights."""
    chosen = recipe(*LOOKS, "train.precision=bf16")
    torch.manual_seed(0)
    model = build_model(chosen)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    engine = chosen.train.backend.start(
        model,
        torch.optim.AdamW(model.parameters()),
        precision="bf16",
        gradient_clipping=0.0,
        micro_batch_size=1,
        accumulation=1,
        device="cpu",
    )
    ema = EMA(engine, 0.9)
    for shadow in ema.shadow:
        shadow.mul_(0.5)
    with Log(tmp_path, chosen.train, chosen, 0) as log:
        yield Watch(chosen, tmp_path, engine, ema, "cpu"), engine, ema, log


def bits(engine, ema):
    return [tensor.clone() for tensor in (*engine.params, *engine.master(), *ema.shadow)]


def test_weights_and_average_come_back_to_the_bit_and_the_loss_is_that_of_the_average(started):
    watch, engine, ema, log = started
    before = bits(engine, ema)
    found = watch(2, log)
    assert all(torch.equal(a, b) for a, b in zip(before, bits(engine, ema), strict=True))
    raw = watch.held_out.loss(engine.infer).mean
    with ema.running(engine):
        average = watch.held_out.loss(engine.infer).mean
    assert found["val_loss"] == average != raw


def test_a_signal_in_the_middle_leaves_everything_as_it_was(started, monkeypatch):
    watch, engine, ema, log = started
    before = bits(engine, ema)
    calls = []

    def infer(*inputs):
        calls.append(monkeypatch.setattr(stop, "_requested", "SIGTERM" if len(calls) > 3 else None))
        return type(engine).infer(engine, *inputs)

    monkeypatch.setattr(engine, "infer", infer)
    assert watch(2, log) == {}
    assert len(calls) == 5
    assert all(torch.equal(a, b) for a, b in zip(before, bits(engine, ema), strict=True))


def test_what_is_due(started):
    watch, *_ = started
    assert [step for step in range(1, 7) if watch.due(step)] == [2, 3, 4, 6]  # 4 is the last


def test_the_same_weights_and_steps_with_and_without(tmp_path):
    """Also where a step would not have been logged; dropped labels and the optimizer's state are part of it."""
    for name in ("plain", "watched"):
        (tmp_path / name).mkdir()
    train(recipe("train.max_steps=5"), tmp_path / "plain", files={})
    train(recipe("train.max_steps=5", *LOOKS), tmp_path / "watched", files={})
    for name in ("raw", "ema"):
        one, other = (
            (tmp_path / run / f"checkpoints/step-00000005/{name}.safetensors").read_bytes()
            for run in ("plain", "watched")
        )
        assert one == other
    rows = [json.loads(line) for line in (tmp_path / "watched/metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], "val_loss" in row) for row in rows] == [(2, True), (3, False), (4, True), (5, True)]
    evaluated = [row["step"] for row in rows if {"eval/class-accuracy", "eval/fd-fashion"} <= row.keys()]
    assert evaluated == [4, 5]
    drawn = sorted(path.name for path in (tmp_path / "watched/samples/during").iterdir())
    assert drawn == [f"step-{step:08d}-{weights}.png" for step in (3, 5) for weights in ("ema", "raw")]


def test_pictures_show_the_same_noise_every_time(tmp_path):
    """A network of the data x0 = 0 draws one grey; one that returns x draws what its noise is."""
    made = Pictures(recipe(), tmp_path, Drawing(recipe(), lambda x, t, y: x, "cpu"))
    first, second = (np.asarray(Image.open(made.draw(step, "raw"))) for step in (1, 2))
    assert (first == second).all()
    grey = Pictures(recipe(), tmp_path, Drawing(recipe(), lambda x, t, y: torch.zeros_like(x), "cpu"))
    picture = np.asarray(Image.open(grey.draw(3, "ema")))
    assert set(np.unique(picture[:, 120:-20])) == {128, 255}  # 127.5 x 0 + 128, and the paper between
    assert len(made.labels) == 10 * COLUMNS
    assert not list((tmp_path / "samples/during").glob(".*"))


def test_values_are_those_of_the_samples_that_are_drawn():
    chosen = recipe(*LOOKS)
    drawing = Drawing(chosen, lambda x, t, y: x / 2, "cpu")
    judge = Judge(chosen, drawing, "cpu")
    assert judge.labels.tolist() == [*range(10), *range(10)]
    results = evaluate(drawing.draw(judge.labels), judge.labels, chosen)
    assert judge() == {f"eval/{name}": score.value for name, score in results.scores.items()}


def test_a_stop_in_a_metric_is_one_of_the_look(monkeypatch):
    chosen = recipe(*LOOKS)
    judge = Judge(chosen, Drawing(chosen, lambda x, t, y: x / 2, "cpu"), "cpu")
    images = judge.drawing.draw(judge.labels)
    monkeypatch.setattr(judge.drawing, "draw", lambda labels: images)
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(Stopped):
        judge()


def test_there_must_be_something_to_evaluate_by():
    chosen = recipe(*LOOKS, "evaluate.metrics=[]")
    with pytest.raises(RecipeError, match=r"train\.evaluate_every: evaluate\.metrics has none"):
        Judge(chosen, Drawing(chosen, lambda x, t, y: x, "cpu"), "cpu")


def test_of_many_classes_ten_are_drawn(tmp_path):
    chosen = recipe("dataset={kind='synthetic',num_classes=1000,latents=false,channels=1}", "model.num_classes=1000")
    labels = Pictures(chosen, tmp_path, Drawing(chosen, lambda x, t, y: x, "cpu")).labels
    assert np.unique(labels).tolist() == list(range(0, 1000, 100))


def test_a_network_that_is_not_finite_gives_a_picture_all_the_same(tmp_path):
    drawing = Drawing(recipe(), lambda x, t, y: x * float("nan"), "cpu")
    Pictures(recipe(), tmp_path, drawing).draw(1, "raw")
    assert (tmp_path / "samples/during/step-00000001-raw.png").exists()


def test_a_disk_that_takes_no_picture_is_a_warning(started, capsys, tmp_path):
    watch, _, _, log = started
    (tmp_path / "samples").write_text("in the way")
    watch(3, log)
    assert "warning: the samples of step 3 cannot be written" in capsys.readouterr().err


def test_trackers_are_shown_the_pictures(started, tmp_path):
    watch, _, _, log = started
    seen = []

    class Spy:
        kind = "spy"

        def images(self, step, name, path):
            seen.append((step, name, path.relative_to(tmp_path).as_posix(), path.exists()))

        def close(self):
            pass

    log.trackers.append(Spy())
    watch(3, log)
    assert seen == [
        (3, f"samples/{weights}", f"samples/during/step-00000003-{weights}.png", True) for weights in ("raw", "ema")
    ]


def test_latents_without_an_autoencoder_are_validated_but_not_drawn(tmp_path, capsys):
    """The untrained model of noise returns zero, whose squared error is one at every time."""
    chosen = load_recipe(
        ROOT / "recipes/xl2.toml",
        set=[
            *("dataset.kind=synthetic", "autoencoder.path=nowhere/at-all", "objective.learn_sigma=false"),
            *("model.hidden_size=16", "model.depth=1", "model.num_heads=2", "sample.sampler.variance=fixed-small"),
            *("train.max_steps=1", "train.global_batch_size=4", "train.precision=fp32", "train.backend.kind=single"),
            *("train.lr=1e-12", "train.validate_every=1", "train.validate_images=8", "train.sample_every=1"),
        ],
    )
    train(chosen, tmp_path, files={})
    told = capsys.readouterr().err
    assert "nowhere/at-all is no folder here" in told
    assert "train.sample_every and train.evaluate_every draw nothing" in told
    assert not (tmp_path / "samples").exists()
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["val_loss"] == pytest.approx(1, abs=0.01)
