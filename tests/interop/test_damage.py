"""Files that are damaged, of something else, or made to run code."""

import os
import pickle
import zipfile

import pytest
import torch

import dit_toolkit as dit
from tests.interop.conftest import random_model, store, tiny_recipe
from tests.interop.test_facebook import checkpoint


class Bomb:
    """Pickles into a call that makes a folder."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def refused(source, place, error=dit.CheckpointError, **options):
    with pytest.raises(error) as caught:
        dit.import_model(source, place / "out", **{"format": "facebook", "num_heads": 4, **options})
    assert list(place.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("wrap", ["plain", "torch", "legacy", "args"])
def test_code_in_a_pickle_never_runs(tmp_path, place, wrap):
    canary, source = tmp_path / "canary", tmp_path / "x.pt"
    bomb = Bomb(canary)
    if wrap == "plain":
        source.write_bytes(pickle.dumps(bomb, protocol=2))
    elif wrap == "args":
        torch.save({"ema": checkpoint(), "args": bomb}, source)
    else:
        torch.save({**checkpoint(), "bomb": bomb}, source, _use_new_zipfile_serialization=wrap == "torch")
    message = refused(source, place)
    assert "Python objects are not read from checkpoints" in message
    assert "posix.mkdir" in message
    assert not canary.exists()
    torch.load(source, weights_only=False) if wrap != "plain" else pickle.loads(source.read_bytes())
    assert canary.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_files(tmp_path, place, share):
    torch.save(checkpoint(), tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data[: int(share * len(data))])
    assert "x.pt: cannot be read as a PyTorch checkpoint" in refused(tmp_path / "x.pt", place)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 10, b"\x80\x04."])
def test_files_of_something_else(tmp_path, place, content):
    (tmp_path / "x.pt").write_bytes(content)
    assert "x.pt: cannot be read as a PyTorch checkpoint" in refused(tmp_path / "x.pt", place)
    with pytest.raises(dit.CheckpointError, match=r"x\.pt: cannot be read as a safetensors file"):
        dit.load(tmp_path / "x.pt")


def test_an_archive_of_something_else_and_no_file(tmp_path, place):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "cannot be read as a PyTorch checkpoint" in refused(tmp_path / "x.pt", place)
    assert "no such file" in refused(tmp_path / "y.pt", place)


@pytest.mark.parametrize("content", [[1, 2], {}, 3, {"model": {}}, {"ema": {"a": 1}}])
def test_checkpoints_without_weights(tmp_path, place, content):
    torch.save(content, tmp_path / "x.pt")
    assert "x.pt: " in refused(tmp_path / "x.pt", place)


def test_an_output_that_exists_is_refused_before_anything_is_read(tmp_path, place):
    (place / "out").write_text("kept")
    for work in (
        lambda: dit.import_model(tmp_path / "no.pt", place / "out", format="facebook"),
        lambda: dit.export_model(tmp_path / "no", place / "out", format="safetensors"),
    ):
        with pytest.raises(dit.DataError, match="out: exists already"):
            work()
    assert (place / "out").read_text() == "kept"
    with pytest.raises(dit.DataError, match="there is no folder"):
        dit.export_model(tmp_path / "no", place / "nowhere" / "out", format="safetensors")


def test_a_full_disk_leaves_nothing(tmp_path, place, monkeypatch):
    recipe = tiny_recipe()
    own = store(tmp_path / "own.safetensors", recipe, random_model(recipe))

    def full(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(dit.StorageError, match="No space left"):
        dit.export_model(own, place / "x.pt", format="facebook")
    assert list(place.iterdir()) == []


def test_damaged_files_of_our_own(tmp_path):
    recipe = tiny_recipe(latents=False)
    data = store(tmp_path / "own.safetensors", recipe, random_model(recipe)).read_bytes()
    for cut in (4, 100, len(data) - 1):
        (tmp_path / "x.safetensors").write_bytes(data[:cut])
        with pytest.raises(dit.CheckpointError, match=r"x\.safetensors: cannot be read as a safetensors file"):
            dit.load(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(data.replace(b"head.linear.bias", b"head.linear.bia_"))
    with pytest.raises(dit.CheckpointError, match=r"missing: head.linear.bias(.|\n)*not expected: head.linear.bia_"):
        dit.load(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(data.replace(b"depth = 3", b"depth = 0"))
    with pytest.raises(dit.RecipeError, match=r"model\.depth: must be >= 1, got 0"):
        dit.load(tmp_path / "x.safetensors")
