from __future__ import annotations

import pytest

from dit_toolkit.errors import StorageError
from dit_toolkit.trackers.csv import CSV


def lines(folder) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def test_a_row_per_step(tmp_path):
    tracker = CSV()
    tracker.start(tmp_path, {})
    tracker.log(100, {"loss": 0.5, "lr": 1e-4})
    tracker.log(200, {"loss": 0.25, "lr": 1e-4})
    tracker.close()
    assert lines(tmp_path) == ["step,loss,lr", "100,0.5,0.0001", "200,0.25,0.0001"]


def test_a_resumed_run_goes_on_and_does_some_steps_again(tmp_path):
    for steps, loss in (((100, 200, 300), 0.5), ((200, 300, 400), 0.25)):
        tracker = CSV()
        tracker.start(tmp_path, {})
        for step in steps:
            tracker.log(step, {"loss": loss})
    assert lines(tmp_path) == ["step,loss", "100,0.5", "200,0.25", "300,0.25", "400,0.25"]


def test_new_names_become_new_columns(tmp_path):
    tracker = CSV()
    tracker.start(tmp_path, {})
    tracker.log(100, {"loss": 0.5})
    tracker.log(200, {"loss": 0.25, "val, held out": 0.3})
    tracker.log(300, {"val, held out": 0.2})
    assert lines(tmp_path) == ['step,loss,"val, held out"', "100,0.5,", "200,0.25,0.3", "300,,0.2"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_row_torn_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n100,0.5\n200,0.")
    tracker = CSV()
    tracker.start(tmp_path, {})
    tracker.log(300, {"loss": 0.25})
    assert lines(tmp_path) == ["step,loss", "100,0.5", "300,0.25"]


def test_a_target_that_cannot_be_written(tmp_path):
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(StorageError, match=r"metrics\.csv: cannot be written"):
        CSV().start(tmp_path, {})


def test_a_folder_that_goes_away(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    tracker = CSV()
    tracker.start(run, {})
    (run / "metrics.csv").unlink()
    run.rmdir()
    with pytest.raises(StorageError):
        tracker.log(100, {"loss": 0.5})


def test_trackers_are_values():
    assert CSV() == CSV()
    assert hash(CSV()) == hash(CSV())
    assert repr(CSV()) == "CSV()"
