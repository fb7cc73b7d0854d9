"""Whatever asks to stop, and whenever: at most one step is lost, and the same command goes on to the same end."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from dit_toolkit import checkpoint, load_recipe, stop
from dit_toolkit.autoencoders.identity import Identity, IdentityCodec
from dit_toolkit.backends.single import SingleEngine
from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.encoding import Options, encode
from dit_toolkit.errors import Interrupted
from dit_toolkit.images import read_npz
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.class_accuracy import ClassAccuracy
from dit_toolkit.metrics.memorisation import Memorisation
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.run import run
from dit_toolkit.sampling import Trained
from dit_toolkit.training.heldout import HeldOut
from dit_toolkit.training.pictures import Pictures
from tests.conftest import ROOT, SMALL
from tests.data import image_tree

WAYS = ("SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP", "time", "file")
PHASES = {
    "first batch": (SingleEngine, "backward", 1),
    "training": (SingleEngine, "step", 2),
    "saving": (checkpoint, "save", 1),
    "validating": (HeldOut, "_losses", 1),
    "drawing": (Pictures, "draw", 2),
    "sampling": (Trained, "sample", 2),
    "evaluating": (ImageSet, "seen", 1),
}
"""The call, and which one of them, in the midst of which something asks to stop."""


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Look for the file at every step, and leave the terminal of the tests alone."""
    monkeypatch.setattr(stop, "_LOOK", 0.0)
    monkeypatch.setattr(stop, "leave_terminal", lambda: None)


def fashion(*changes: str) -> Recipe:
    looks = ["train.validate_every=2", "train.validate_images=40", "sample.sampler.num_steps=2"]
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, *looks, *changes])


def judge_quickly(monkeypatch) -> None:
    """Give the metrics their values."""
    monkeypatch.setattr(ClassAccuracy, "compute", lambda *_: 0.5)
    monkeypatch.setattr(Memorisation, "compute", lambda *_: 1.0)


def ask(way: str, folder: Path, monkeypatch) -> None:
    if way == "time":
        monkeypatch.setattr(stop, "time", SimpleNamespace(monotonic=lambda: 2e12))
    elif way == "file":
        (folder / stop.NAME).touch()
    else:
        os.kill(os.getpid(), getattr(signal, way))


def asking(monkeypatch, phase: tuple, way: str, folder: Path) -> None:
    """Let the n-th call of a method be one in which something asks to stop."""
    owner, name, n = phase
    original, calls = getattr(owner, name), []

    def method(*arguments, **named):
        calls.append(name)
        if len(calls) == n:
            ask(way, folder, monkeypatch)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, method)


def newest(folder: Path) -> dict:
    return checkpoint.read_manifest(checkpoint.newest(folder / "checkpoints"))


def curve(folder: Path) -> list[tuple[int, float, float | None]]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["loss"], row.get("val_loss")) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the run gives that nothing disturbs."""
    recipe, out = fashion("evaluate.metrics=[]"), tmp_path_factory.mktemp("whole") / "run"
    return run(recipe, name="whole", out=out, stages=["train", "validate", "sample"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("phase", PHASES)
def test_a_run_stops_and_goes_on(whole, tmp_path, monkeypatch, phase, way):
    recipe = fashion(
        'evaluate.metrics=[{kind="class-accuracy"}, {kind="memorisation"}]',
        f"train.sample_every={2 if phase == 'drawing' else 0}",
    )
    if phase != "evaluating":
        judge_quickly(monkeypatch)
    folder = tmp_path / "run"
    asking(monkeypatch, PHASES[phase], way, folder)
    with pytest.raises(Interrupted, match="the same command") as caught:
        run(recipe, name="run", out=folder, deadline=1e12)
    assert caught.value.exit_code == 3
    done = {
        "first batch": [1],
        "training": [2, 3],
        "saving": [2, 3, 4],
        "validating": [2],
        "drawing": [2],
    }  # Saved aside.
    assert newest(folder)["step"] in done.get(phase, [4])
    monkeypatch.undo()
    judge_quickly(monkeypatch)
    run(recipe, name="run", out=folder)
    for name in ("raw.safetensors", "ema.safetensors"):
        assert newest(folder)["files"][name] == newest(whole)["files"][name]
    samples = "samples/step-00000004/samples.npz"
    assert (read_npz(folder / samples) == read_npz(whole / samples)).all()
    assert curve(folder) == curve(whole)
    assert len(list((folder / "samples").glob("during/*.png"))) == (4 if phase == "drawing" else 0)
    assert (folder / "samples/step-00000004/evaluation.json").exists()
    assert not (folder / stop.NAME).exists()


@pytest.mark.parametrize("way", WAYS)
def test_validating_stops_and_starts_again(whole, tmp_path, monkeypatch, way):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("validation"))
    asking(monkeypatch, (HeldOut, "_losses", 3), way, folder)  # The first of the raw weights.
    recipe = fashion("evaluate.metrics=[]")
    with pytest.raises(Interrupted, match="the same command"):
        run(recipe, name="run", out=folder, stages=["validate"], deadline=1e12)
    assert not list(folder.glob("validation/*"))
    monkeypatch.undo()
    run(recipe, name="run", out=folder, stages=["validate"])
    [found] = folder.glob("validation/*")
    assert found.read_bytes() == (whole / "validation" / found.name).read_bytes()


def test_a_stop_while_python_still_imports_is_kept():
    """As the command line does it: a block around what loads torch and the run's own."""
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.listening(deadline=1e12):
            assert stop.requested() == "SIGTERM"
    with stop.listening():
        assert stop.requested() is None


@pytest.mark.parametrize("way", WAYS)
def test_encoding_stops_and_goes_on(tmp_path, monkeypatch, way):
    image_tree(tmp_path / "images")
    images = ImageFolder(path=str(tmp_path / "images"), image_size=16, num_classes=3)
    options = Options(block=4, batch_size=2)
    encode(images, Identity(), tmp_path / "whole", options)
    asking(monkeypatch, (IdentityCodec, "encode", 3), way, tmp_path / "out.partial")
    with pytest.raises(Interrupted, match="the same command goes on"):
        encode(images, Identity(), tmp_path / "out", options, deadline=1e12)
    assert len(list((tmp_path / "out.partial/state").glob("*-*.json"))) == 1
    monkeypatch.undo()
    encode(images, Identity(), tmp_path / "out", options)
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("whole", "out"))
    assert one == other


def test_what_asked_is_named(tmp_path, monkeypatch):
    with stop.listening(deadline=1e12):
        assert stop.requested() is None
        ask("time", tmp_path, monkeypatch)
        assert stop.requested() == "the time limit"
    monkeypatch.undo()
    with stop.listening():
        (tmp_path / "stop").touch()
        stop.watch(tmp_path, clear=True)
        assert stop.requested() is None, "a file of an earlier run must not stop this one"
        stop._next_look = 0.0
        (tmp_path / "stop").touch()
        assert stop.requested() == str(tmp_path / "stop")
    with stop.listening():
        assert stop.requested() is None
        ask("SIGUSR1", tmp_path, monkeypatch)
        assert stop.requested() == "SIGUSR1"
