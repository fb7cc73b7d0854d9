"""`sample`: what its options mean, what it refuses, and that many processes, stopped or killed, draw what one does."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import attrs
import pytest
from attrs import frozen

from dit_toolkit import launch, stop
from dit_toolkit.drawing.parts import Parts
from dit_toolkit.images import read_folder, read_npz
from dit_toolkit.recipe.schema import Sample
from tests.conftest import ROOT

NAMES = ("tench, Tinca tinca", "goldfish", "great white shark")


@frozen
class Trained:
    recipe: SimpleNamespace
    class_names: tuple[str, ...] = NAMES

    def with_sample(self, settings):
        return attrs.evolve(self, recipe=SimpleNamespace(sample=settings))


@pytest.fixture
def model(fake, calls):
    """Fakes of loading a run and of drawing from it."""

    def load(path, *, weights, plugins, set, verify):
        calls.append(("load", path, weights, plugins, set))
        return Trained(SimpleNamespace(sample=Sample()))

    def sample(trained, out, *, png):
        calls.append(("sample", trained.recipe.sample.labels, out, png))

    fake("sampling", load=load)
    fake("weights", verified=lambda path: path)
    fake("drawing.draw", sample=sample)
    fake(
        "distributed",
        initialise=lambda: None,
        together=lambda work: work(),
        main_alone=lambda work: work(),
        wait=lambda: None,
        leave=lambda code: None,
    )
    return calls


def test_as_the_recipe_says(invoke, model, tmp_path):
    out = tmp_path / "x.npz"
    result = invoke("sample", tmp_path, "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    assert model == [("load", tmp_path, None, [], []), ("sample", None, out, None)]


@pytest.mark.parametrize(("run", "name"), [("runs/fashion", "fashion-samples.npz"), ("x.safetensors", "x-samples.npz")])
def test_without_out_the_samples_are_named_after_the_run(invoke, model, tmp_path, monkeypatch, run, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / run
    path.mkdir(parents=True) if run == "runs/fashion" else path.touch()
    result = invoke("sample", path)
    assert (result.exit_code, result.stdout) == (0, f"{name}\n"), result.output


def test_options_are_settings_of_the_recipe(invoke, model, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.touch()
    words = ["--num-samples", "4", "--seed", "3", "--weights", "raw", "--plugin", plugin, "--batch-size", "2"]
    words += ["--label-sampling", "random", "--set", "sampler.num_steps=20", "--set", "autoencoder.tiling=true"]
    result = invoke("sample", tmp_path, "--out", tmp_path / "x.npz", *words, "--png", tmp_path / "png")
    assert result.exit_code == 0, result.output
    table = ["sampler.num_steps=20", "num_samples=4", "label_sampling=random", "seed=3", "batch_size=2"]
    settings = [f"sample.{text}" for text in table]
    settings.insert(1, "autoencoder.tiling=true")
    assert model[0] == ("load", tmp_path, "raw", [str(plugin)], settings)
    assert model[1] == ("sample", None, tmp_path / "x.npz", tmp_path / "png")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("2,0", [2, 0]),
        ("Great White Shark,tench", [2, 0]),
        ("tench, Tinca tinca,goldfish", [0, 1]),
        ("tinca  TINCA, great_white_shark", [0, 2]),
    ],
)
def test_labels_are_numbers_or_names(invoke, model, tmp_path, text, labels):
    result = invoke("sample", tmp_path, "--out", tmp_path / "x.npz", "--labels", text)
    assert result.exit_code == 0, result.output
    assert model[1][1] == labels


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "tensh,3",
            ["labels: there is no class 'tensh'; did you mean 'tench'?", "labels: 3 is no class; there are 0 to 2"],
        ),
        ("shark", ["labels: there is no class 'shark'; did you mean 'great white shark'?"]),
        ("-1", ["labels: -1 is no class; there are 0 to 2"]),
        (",", ["labels: names no class"]),
        ("", ["labels: names no class"]),
    ],
)
def test_classes_that_there_are_not(invoke, model, tmp_path, text, told):
    result = invoke("sample", tmp_path, "--out", tmp_path / "x.npz", f"--labels={text}")
    assert (result.exit_code, result.stderr.splitlines()) == (2, [f"error: {line}" for line in told])


@pytest.mark.parametrize("name", ["x.npz", "x.json"])
def test_nothing_is_overwritten(invoke, model, tmp_path, name):
    (tmp_path / name).write_text("kept")
    result = invoke("sample", tmp_path, "--out", tmp_path / "x.npz")
    assert result.exit_code == 2
    assert f"{name}: exists already" in result.stderr
    assert (tmp_path / name).read_text() == "kept"
    assert model == []


@pytest.mark.parametrize(("out", "message"), [("x.png", "must end in .npz"), ("nowhere/x.npz", "there is no folder")])
def test_outputs_that_cannot_be(invoke, model, tmp_path, out, message):
    result = invoke("sample", tmp_path, "--out", tmp_path / out)
    assert result.exit_code == 2
    assert message in result.stderr


def test_more_processes_get_the_same_words(invoke, model, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(launch, "spawn", lambda n, words: started.append((n, words)) or 3)
    words = ["sample", str(tmp_path), "--out", str(tmp_path / "x.npz"), "--procs", "2"]
    assert invoke(*words).exit_code == 3
    assert started == [(2, words)]
    assert model == []


OPTIONS = ["--num-samples", "81", "--batch-size", "4", "--set", "sampler.num_steps=3", "--labels", "Bag,7"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def start(folder, *words, program=("-m", "dit_toolkit")):
    command = [sys.executable, *program, "sample", *map(str, words), *OPTIONS]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def test_a_kill_and_other_processes_change_nothing(small_run, invoke, tmp_path):
    """One of two processes is killed with a part of its own; one alone goes on, and the file is that of one process."""
    _, run = small_run
    assert invoke("sample", run, "--out", tmp_path / "one.npz", *OPTIONS).exit_code == 0
    killed = start(
        tmp_path, run, "--out", "two.npz", "--png", "png", "--procs", "2", "--set", "label_sampling=balanced"
    )
    parts, began = tmp_path / "two.npz.partial", time.monotonic()
    while len(list(parts.glob("*.npy"))) < 1 and time.monotonic() - began < 100:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    finish(killed, -signal.SIGKILL)
    assert not (tmp_path / "two.npz").exists()
    time.sleep(0.5)  # The processes that it started end with it.
    result = invoke("sample", run, "--out", tmp_path / "two.npz", "--png", tmp_path / "png", *OPTIONS)
    assert result.exit_code == 0, result.output
    assert digest(tmp_path / "one.npz") == digest(tmp_path / "two.npz")
    assert (read_folder(tmp_path / "png") == read_npz(tmp_path / "two.npz")).all()
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert one["labels"] == [8, 7] * 40 + [8]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["one.json", "one.npz", "two.json", "two.npz"]


def test_two_processes_stop_at_a_time_limit_and_go_on(small_run, invoke, tmp_path):
    _, run = small_run
    _, err = finish(start(tmp_path, run, "--out", "two.npz", "--procs", "2", "--time-limit", "0s"), 3)
    assert "stopped while sampling; the same command goes on (two.npz.partial keeps what is done)" in err
    assert len(list((tmp_path / "two.npz.partial").glob("*.npy"))) == 2
    finish(start(tmp_path, run, "--out", "two.npz", "--procs", "2"))
    assert invoke("sample", run, "--out", tmp_path / "one.npz", *OPTIONS).exit_code == 0
    assert digest(tmp_path / "one.npz") == digest(tmp_path / "two.npz")


def test_a_file_stops_it(small_run, invoke, tmp_path, monkeypatch):
    _, run = small_run
    write = Parts.write

    def and_ask_to_stop(self, first, images):
        write(self, first, images)
        (self.folder / "stop").touch()

    monkeypatch.setattr(Parts, "write", and_ask_to_stop)
    monkeypatch.setattr(stop, "_LOOK", 0.0)
    words = ["sample", run, "--out", tmp_path / "x.npz", *OPTIONS]
    assert invoke(*words).exit_code == 3
    monkeypatch.undo()
    assert 0 < len(list((tmp_path / "x.npz.partial").glob("*.npy"))) < 20
    assert invoke(*words).exit_code == 0, "the file of the last time is none of this one"


def test_faults_are_told_once_by_two_processes(tmp_path):
    (tmp_path / "empty").mkdir()
    _, err = finish(start(tmp_path, "empty", "--out", "x.npz", "--procs", "2"), 2)
    assert [line for line in err.splitlines() if "error" in line] == [
        "error: empty: no checkpoint in it; train it first with `dit-toolkit run`"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
