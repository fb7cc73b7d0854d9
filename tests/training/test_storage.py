"""A disk that is full, or turns read-only, while a run trains: code 5, the last checkpoint holds, and it goes on."""

import os
import resource
import shutil
import subprocess
import time
from contextlib import nullcontext

import pytest

from dit_toolkit import checkpoint, load_recipe
from dit_toolkit.errors import StorageError
from dit_toolkit.run import run
from dit_toolkit.training.faults import Faults
from tests.conftest import ROOT, SMALL

STAGES = ["train"]


@pytest.fixture
def recipe():
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "train.max_steps=6"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Files of the last checkpoint of the run that nothing disturbs."""
    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "train.max_steps=6"])
    return last(run(recipe, name="whole", out=tmp_path_factory.mktemp("whole") / "run", stages=STAGES))


def last(folder):
    manifest = checkpoint.read_manifest(checkpoint.newest(folder / "checkpoints"))
    return manifest["step"], {name: manifest["files"][name] for name in ("raw.safetensors", "ema.safetensors")}


def at_step(monkeypatch, number, folder, happening):
    """Let something happen when a step is judged, and the checkpoint of step 2, which a thread writes, is complete."""
    judge = Faults.judge

    def judging(self, step, *arguments):
        if step == number:
            end = time.monotonic() + 60
            while checkpoint.newest(folder / "checkpoints") is None and time.monotonic() < end:
                time.sleep(0.01)
            happening()
        return judge(self, step, *arguments)

    monkeypatch.setattr(Faults, "judge", judging)


def fails(recipe, folder, match):
    with pytest.raises(StorageError, match=match) as caught:
        run(recipe, name="run", out=folder, stages=STAGES)
    assert caught.value.exit_code == 5
    assert last(folder)[0] == 2
    hidden = [path.name for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")]
    assert hidden == [], "what cannot be finished must not take room"


def goes_on(recipe, folder, whole, monkeypatch):
    monkeypatch.undo()
    run(recipe, name="run", out=folder, stages=STAGES)
    assert last(folder) == whole


def test_files_that_may_not_grow(recipe, whole, tmp_path, monkeypatch):
    """As a quota, or a file system's limit, that is hit in the midst of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    too_small = (40_000, before[1])
    at_step(monkeypatch, 4, tmp_path / "run", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, too_small))
    try:
        fails(recipe, tmp_path / "run", "cannot write the checkpoint of step 4: .*File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    goes_on(recipe, tmp_path / "run", whole, monkeypatch)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=False).returncode
    ):
        pytest.skip("file systems can be mounted by root alone, and not in every container")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(place, left):
    """Take all room but some."""
    size = shutil.disk_usage(place).free - left
    (place / "filler").write_bytes(b"x" * size)


@pytest.mark.parametrize("left", [4_096, 100_000])
def test_a_full_disk(recipe, whole, small_disk, monkeypatch, left):
    """With room for nothing, or for a part of a checkpoint: 100,000 bytes are less than its two sets of weights."""
    monkeypatch.setattr("dit_toolkit.doctor.room.checkpoint_size", lambda *_, **__: 0)  # It would refuse to begin.
    at_step(monkeypatch, 4, small_disk / "run", lambda: fill(small_disk, left))
    fails(recipe, small_disk / "run", "step 4")
    (small_disk / "filler").unlink()
    goes_on(recipe, small_disk / "run", whole, monkeypatch)


def test_a_disk_that_turns_read_only(recipe, whole, small_disk, monkeypatch):
    monkeypatch.setattr("dit_toolkit.doctor.room.checkpoint_size", lambda *_, **__: 0)
    monkeypatch.setattr("dit_toolkit.run.alone", lambda *_: nullcontext())  # It is open for writing: mount refuses.
    remount = ["mount", "-o", "remount,ro", small_disk]
    at_step(monkeypatch, 4, small_disk / "run", lambda: subprocess.run(remount, check=True))
    with pytest.raises((StorageError, OSError), match="Read-only file system"):
        run(recipe, name="run", out=small_disk / "run", stages=STAGES)
    assert last(small_disk / "run")[0] == 2
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    goes_on(recipe, small_disk / "run", whole, monkeypatch)
