"""Whether a recipe has room, and what a run without room does."""

import json
import shutil
from collections import namedtuple
from types import SimpleNamespace

import attrs
import pytest
from click.testing import CliRunner

from dit_toolkit import checkpoint, load_recipe
from dit_toolkit.cli import cli
from dit_toolkit.doctor import room
from dit_toolkit.errors import StorageError
from dit_toolkit.flops import costs_of, memory
from dit_toolkit.flops.state import checkpoint_size
from dit_toolkit.run import run
from tests.conftest import ROOT, SMALL

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def recipe():
    return load_recipe(ROOT / "recipes/fashion.toml", set=SMALL)


def full(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**40, 2**40 - free, free))


def test_the_size_of_a_checkpoint_is_that_on_the_disk(small_run):
    recipe, folder = small_run
    newest = checkpoint.newest(folder / "checkpoints")
    size = sum(path.stat().st_size for path in newest.rglob("*"))
    expected = checkpoint_size(costs_of(recipe).trainable, averages=len(recipe.train.averages))
    assert expected < size < 1.1 * expected


@pytest.mark.parametrize(("times", "there", "state"), [(3, 0, "ok"), (2.9, 0, "fail"), (1, 2, "ok"), (0.9, 2, "fail")])
def test_the_disk_must_hold_those_kept_and_the_one_being_written(recipe, tmp_path, monkeypatch, times, there, state):
    for step in range(there):
        (tmp_path / f"checkpoints/step-{step:08d}").mkdir(parents=True)
    full(monkeypatch, int(times * checkpoint_size(1000, averages=len(recipe.train.averages))))
    assert room.disk(recipe, tmp_path, 1000).state == state


def test_a_run_without_room_is_refused_before_it_trains(recipe, tmp_path, monkeypatch):
    full(monkeypatch, 1000)
    with pytest.raises(StorageError, match=r"disk: .* a checkpoint, 3 to come at once, 0\.0 GiB free; make room"):
        run(recipe, name="x", out=tmp_path / "run")
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_memory(recipe, tmp_path):
    costs = attrs.evolve(costs_of(recipe), trainable=10_000, groups=[SimpleNamespace(moments=80_000)])

    def state(free, processes=1):
        return list(room.room(recipe, tmp_path, costs, processes, free))[-1]

    needed = memory(10_000, precision="fp32", averages=len(recipe.train.averages))[0].device
    assert state(needed).state == "ok"
    assert state(needed - 1).advice == "more processes, or a smaller model"
    sharded = load_recipe(ROOT / "recipes/xl2.toml", set=["dataset.kind=synthetic", "train.backend.zero_stage=0"])
    assert list(room.room(sharded, tmp_path, costs, 8, 100_000))[-1].advice == "train.backend.zero_stage = 1"


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    assert room.writable(tmp_path / "file/run").seen == str(tmp_path)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command(recipe, tmp_path, monkeypatch, as_json):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    words = ["doctor", str(ROOT / "recipes/fashion.toml"), "--out", str(tmp_path / "run"), *(["--json"] * as_json)]
    sound = CliRunner().invoke(cli, words)
    assert sound.exit_code == 0, sound.output
    full(monkeypatch, 1000)
    ill = CliRunner().invoke(cli, words)
    assert ill.exit_code == 2
    if as_json:
        [finding] = [entry for entry in json.loads(ill.stdout) if entry["state"] == "fail"]
        assert finding["what"] == "disk"
        assert "make room" in finding["advice"]
    else:
        lines = ill.stdout.splitlines()
        [number] = [i for i, line in enumerate(lines) if line.startswith("fail")]
        assert lines[number + 1].strip().startswith("-> make room")
