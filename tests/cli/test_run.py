from __future__ import annotations

import sys

import pytest

from dit_toolkit import launch


@pytest.fixture
def ran(fake, calls, monkeypatch):
    """Fake of the run itself."""
    monkeypatch.setattr(sys.modules["dit_toolkit.cli.run"], "split_batch", lambda train, processes: None)
    fake("run", run=lambda recipe, **options: calls.append(("run", options)))
    fake("distributed", finish=lambda: calls.append("finish"))
    return calls


def test_options_reach_the_run(invoke, recipe, ran, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.touch()
    words = ["run", recipe, "--set", "seed=1", "--set", "model.depth=2", "--plugin", plugin, "--no-plugin", "old"]
    result = invoke(*words, "--out", tmp_path / "here", "--stage", "sample", "--stage", "train", "--fresh")
    assert result.exit_code == 0, result.output
    assert ran == [
        ("block", "old"),
        ("load_recipe", recipe, ("seed=1", "model.depth=2"), (plugin,)),
        ("run", {"name": "recipe", "out": tmp_path / "here", "stages": ["train", "sample"], "fresh": True}),
        "finish",
    ]
    assert "warning: plugin x not loaded" in result.stderr


def test_no_stage_unless_asked(invoke, recipe, ran):
    invoke("run", recipe)
    expected = {"name": "recipe", "out": None, "stages": [], "fresh": False}
    assert ran[-2:] == [("run", expected), "finish"]


def test_more_processes_get_the_same_words(invoke, recipe, ran, monkeypatch):
    started = []
    monkeypatch.setattr(launch, "spawn", lambda n, words: started.append((n, words)) or 3)
    result = invoke("run", recipe, "--procs", "2", "--set", "seed=1")
    assert result.exit_code == 3
    assert started == [(2, ["run", str(recipe), "--procs", "2", "--set", "seed=1"])]
    assert ran[-1][0] == "load_recipe"


def test_one_of_a_launchers_processes_starts_none(invoke, recipe, ran, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "spawn", None)
    assert "--procs" not in invoke("run", recipe, "--procs", "2").stderr
    assert "--procs 4 does nothing: the launcher started 2" in invoke("run", recipe, "--procs", "4").stderr
    assert ran[-2][0] == "run"
