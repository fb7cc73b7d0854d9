from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image


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
