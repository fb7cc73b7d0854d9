from __future__ import annotations

import sys
import time

import pytest

from dit_toolkit import launch, watchdog


@pytest.fixture
def ran(fake, calls, monkeypatch):
    """Fake of the run itself."""
    monkeypatch.setattr(sys.modules["dit_toolkit.cli.run"], "split_batch", lambda train, processes: None)
    fake("run", run=lambda recipe, **options: calls.append(("run", options)))
    fake("distributed", wait=lambda: calls.append("finish"), leave=lambda code: None)
    return calls


def test_options_reach_the_run(invoke, recipe, ran, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.touch()
    words = ["run", recipe, "--set", "seed=1", "--set", "model.depth=2", "--plugin", plugin, "--no-plugin", "old"]
    words += ["--out", tmp_path / "here", "--stage", "sample", "--stage", "train", "--fresh", "--accept-changes"]
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert ran == [
        ("block", "old"),
        ("load_recipe", recipe, ("seed=1", "model.depth=2"), (plugin,)),
        (
            "run",
            {
                "name": "recipe",
                "out": tmp_path / "here",
                "stages": ["train", "sample"],
                "fresh": True,
                "accept_changes": True,
                "deadline": None,
            },
        ),
        "finish",
    ]
    assert "warning: plugin x not loaded" in result.stderr


def test_no_stage_unless_asked(invoke, recipe, ran):
    invoke("run", recipe)
    expected = {
        "name": "recipe",
        "out": None,
        "stages": [],
        "fresh": False,
        "accept_changes": False,
        "deadline": None,
    }
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("23:50:00", 85800), ("1-12:00:00", 129600)],
)
def test_a_time_limit_counts_from_the_start_of_the_command(invoke, recipe, ran, text, seconds):
    before = time.monotonic()
    assert invoke("run", recipe, "--time-limit", text).exit_code == 0
    assert before + seconds <= ran[-2][1]["deadline"] <= time.monotonic() + seconds


@pytest.mark.parametrize("text", ["90", "1:90:00", "5 m", "-3s", "noon", "1:2", "1e3s", ""])
def test_what_is_no_time_is_refused(invoke, recipe, text):
    result = invoke("run", recipe, f"--time-limit={text}")
    assert result.exit_code == 2
    assert "is no time such as 90s, 30m, 12h, 23:50:00 or 1-12:00:00" in result.stderr


def test_silence_is_watched_while_it_runs(invoke, recipe, fake, monkeypatch):
    seen = []
    monkeypatch.setattr(sys.modules["dit_toolkit.cli.run"], "split_batch", lambda train, processes: None)
    fake("run", run=lambda recipe, **options: seen.append(watchdog.timeout()))
    fake("distributed", wait=lambda: None, leave=lambda code: None)
    for words in ([], ["--hang-timeout", "20s"], ["--hang-timeout", "0s"]):
        assert invoke("run", recipe, *words).exit_code == 0
    assert seen == [600, 20, 0]
    assert watchdog.timeout() == 0
