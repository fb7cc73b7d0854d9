"""Models of other systems through the command line, end to end."""

import json

import pytest
import torch

from dit_toolkit.images import read_npz
from tests.interop.test_facebook import checkpoint


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A checkpoint in the release's layout, of a model of 3 x 8 x 8 pixels."""
    monkeypatch.chdir(tmp_path)
    torch.save({"ema": checkpoint(channels=3), "model": checkpoint(1, channels=3)}, tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


def test_an_imported_model_samples_at_once(invoke, source, tmp_path):
    result = invoke("import", "facebook", source, "imported.safetensors", "--num-heads", "4")
    assert (result.exit_code, result.stdout) == (0, "imported.safetensors\n"), result.output
    assert "3 blocks of width 32, 4 heads, 10 classes, patches of 2 in 3 x 8 x 8" in result.stderr
    result = invoke("sample", "imported.safetensors", "--num-samples", "8", "--set", "sampler.num_steps=3")
    assert (result.exit_code, result.stdout) == (0, "imported-samples.npz\n"), result.output
    images = read_npz(tmp_path / "imported-samples.npz")
    assert images.shape == (8, 8, 8, 3)
    assert images.std() > 1
    facts = json.loads((tmp_path / "imported-samples.json").read_text())
    assert (facts["weights"], facts["cfg_scale"], facts["labels"]) == ("ema", 1.5, list(range(8)))


def test_export_and_import_through_every_format(invoke, source, tmp_path):
    words = ("--num-heads", "4", "--weights", "raw", "--set", "model.time_frequencies=diffusers")
    assert invoke("import", "facebook", source, "1.safetensors", *words).exit_code == 0
    steps = (
        ("export", "1.safetensors", "2", "--format", "diffusers", "--no-autoencoder"),
        ("import", "diffusers", "2", "3.safetensors", "--weights", "raw"),
        ("export", "3.safetensors", "4.safetensors"),
        ("export", "4.safetensors", "5.pt", "--format", "facebook", "--weights", "raw"),
    )
    for step in steps:
        result = invoke(*step)
        assert (result.exit_code, result.stdout) == (0, f"{step[2 if step[0] == 'export' else 3]}\n"), result.output
    assert "embeddings differ by up to" in result.stderr
    expected = torch.load(source, weights_only=True)["model"]
    found = torch.load(tmp_path / "5.pt", weights_only=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_run_is_exported(invoke, small_run, tmp_path):
    result = invoke("export", small_run[1], tmp_path / "own.safetensors")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'own.safetensors'}\n"), result.output
    result = invoke("export", small_run[1], tmp_path / "x.pt", "--format", "facebook")
    assert result.exit_code == 2
    assert "error: objective.kind: cannot be exported to this format: 'flow-matching'" in result.stderr
    assert not (tmp_path / "x.pt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("facebook", "theirs.pt", "theirs.pt"), "theirs.pt: exists already"),
        (("facebook", "theirs.pt", "x"), "say how many attention heads they have with --num-heads"),
        (("diffusers", "theirs.pt", "x"), "is not a folder"),
        (("facebook", "nowhere.pt", "x"), "does not exist"),
        (("keras", "theirs.pt", "x"), "No such command 'keras'"),
    ],
)
def test_mistakes_are_one_line(invoke, source, tmp_path, words, message):
    result = invoke("import", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.pt"]
