from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def samples(tmp_path, recipe, fake):
    """An .npz file of three images with its labels, and fakes of what reads, judges and draws it."""
    path = tmp_path / "samples.npz"
    path.touch()
    (tmp_path / "samples.json").write_text(json.dumps({"labels": [2, 7, 2]}))
    pixels = np.zeros((3, 4, 4, 3), np.uint8)

    fake("images", SUFFIXES=(), read_npz=lambda _: pixels, read_folder=lambda *_: pixels)

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
