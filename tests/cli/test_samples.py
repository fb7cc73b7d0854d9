from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def model(recipe, fake, calls):
    """Fakes of loading a run, of changing its recipe and of sampling from it."""

    def load(path, *, weights, plugins):
        calls.append(("load", path, weights, plugins))
        return SimpleNamespace(recipe="stored", with_sample=lambda settings: settings)

    def apply(recipe, settings, *, at):
        return SimpleNamespace(sample=(recipe, tuple(settings), at))

    fake("recipe.load", apply=apply)
    fake("sampling", load=load, sample_to_file=lambda trained, out: calls.append(("sample", trained, out)))
    return calls


def test_sample_as_the_recipe_says(invoke, model, tmp_path):
    out = tmp_path / "x.npz"
    result = invoke("sample", tmp_path, "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    assert model == [("load", tmp_path, None, []), ("sample", ("stored", (), "sample"), out)]


@pytest.mark.parametrize(("run", "name"), [("runs/fashion", "fashion-samples.npz"), ("x.safetensors", "x-samples.npz")])
def test_without_out_the_samples_are_named_after_the_run(invoke, model, tmp_path, monkeypatch, run, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / run
    path.mkdir(parents=True) if run == "runs/fashion" else path.touch()
    result = invoke("sample", path)
    assert (result.exit_code, result.stdout) == (0, f"{name}\n"), result.output


def test_options_are_settings_of_the_recipe(invoke, model, recipe, tmp_path):
    words = ["--num-samples", "4", "--labels", "2,7", "--seed", "3", "--weights", "raw", "--plugin", recipe]
    result = invoke("sample", tmp_path, "--out", tmp_path / "x.npz", *words, "--set", "sampler.num_steps=20")
    assert result.exit_code == 0, result.output
    settings = ("sampler.num_steps=20", "num_samples=4", "labels=[2,7]", "seed=3")
    assert model[0] == ("load", tmp_path, "raw", [str(recipe)])
    assert model[1][1] == ("stored", settings, "sample")


@pytest.mark.parametrize("name", ["x.npz", "x.json"])
def test_nothing_is_overwritten(invoke, model, tmp_path, name):
    (tmp_path / name).write_text("kept")
    result = invoke("sample", tmp_path, "--out", tmp_path / "x.npz")
    assert result.exit_code == 2
    assert f"{name}: exists already" in result.stderr
    assert (tmp_path / name).read_text() == "kept"


@pytest.mark.parametrize(("out", "message"), [("x.png", "must end in .npz"), ("nowhere/x.npz", "there is no folder")])
def test_outputs_that_cannot_be(invoke, model, tmp_path, out, message):
    result = invoke("sample", tmp_path, "--out", tmp_path / out)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.fixture
def samples(tmp_path, recipe, fake):
    """An .npz file of three images with its labels, and fakes of what reads, judges and draws it."""
    path = tmp_path / "samples.npz"
    path.touch()
    (tmp_path / "samples.json").write_text(json.dumps({"labels": [2, 7, 2]}))
    pixels = np.zeros((3, 4, 4, 3), np.uint8)

    def grid(images, labels, names, columns):
        return Image.new("RGB", (len(images), columns), "white" if len(names) > max(labels) else "black")

    fake("images", read_npz=lambda _: pixels, read_folder=lambda _: pixels, grid=grid)

    def evaluate(images, labels, recipe):
        return SimpleNamespace(as_dict=lambda: {"labels": labels.tolist(), "count": len(images)})

    fake("evaluation", evaluate=evaluate, table=lambda results: f"{results.as_dict()['count']} samples")
    return path


def test_evaluate(invoke, samples, recipe):
    result = invoke("evaluate", samples, "--recipe", recipe)
    assert (result.exit_code, result.stdout) == (0, "3 samples\n"), result.output


def test_evaluate_as_json(invoke, samples, recipe):
    result = invoke("evaluate", samples, "--recipe", recipe, "--json")
    assert json.loads(result.stdout) == {"labels": [2, 7, 2], "count": 3}


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        (None, "samples.json: no such file"),
        ("{", "samples.json: cannot be read"),
        ("[]", "`labels` must be a list of class numbers"),
        ('{"labels": [1, -1]}', "`labels` must be a list of class numbers"),
        ('{"labels": [true]}', "`labels` must be a list of class numbers"),
    ],
)
def test_labels_that_cannot_be_read(invoke, samples, recipe, sidecar, message):
    path = samples.with_suffix(".json")
    path.write_text(sidecar) if sidecar else path.unlink()
    result = invoke("evaluate", samples, "--recipe", recipe)
    assert result.exit_code == 2
    assert message in result.stderr


def test_grid(invoke, samples, tmp_path):
    out = tmp_path / "grid.png"
    result = invoke("grid", samples, "--out", out, "--columns", "5")
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    with Image.open(out) as picture:
        assert picture.size == (3, 5)
        assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert "exists already" in invoke("grid", samples, "--out", out).stderr


def test_a_grid_without_labels(invoke, samples, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    assert invoke("grid", folder, "--out", tmp_path / "grid.png").exit_code == 0


@pytest.mark.parametrize(
    ("sidecar", "message"), [({"labels": [1]}, "3 images, but 1 labels"), ({"labels": []}, "3 images, but 0 labels")]
)
def test_a_grid_with_other_labels(invoke, samples, tmp_path, sidecar, message):
    samples.with_suffix(".json").write_text(json.dumps(sidecar))
    result = invoke("grid", samples, "--out", tmp_path / "grid.png")
    assert result.exit_code == 2
    assert message in result.stderr
