from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from dit_toolkit.errors import PluginError, StorageError
from dit_toolkit.trackers.tensorboard import TensorBoard


def start(folder) -> TensorBoard:
    tracker = TensorBoard()
    tracker.start(folder, {"seed": 0})
    return tracker


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "events"))
    events.Reload()
    return events


def test_scalars_pictures_and_the_recipe(tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "grid.png")
    tracker = start(tmp_path)
    tracker.log(100, {"step": 100, "loss": 0.5})
    tracker.log(200, {"loss": 0.25})
    tracker.images(200, "samples", tmp_path / "grid.png")
    tracker.close()
    events = read(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(100, 0.5), (200, 0.25)]
    assert [(event.height, event.width) for event in events.Images("samples")] == [(4, 6)]
    assert events.Tags()["scalars"] == ["loss"]
    assert "recipe/text_summary" in events.Tags()["tensors"]


def test_a_resumed_run_replaces_what_it_repeats(tmp_path):
    for steps in ((100, 200, 300), (200, 300)):
        tracker = start(tmp_path)
        for step in steps:
            tracker.log(step, {"loss": step / len(steps)})
        tracker.close()
    assert [event.step for event in read(tmp_path).Scalars("loss")] == [100, 200, 300]


def test_closing_twice_or_unused_is_fine(tmp_path):
    tracker = start(tmp_path)
    tracker.close()
    tracker.close()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(PluginError, match=r'pip install "dit-toolkit\[tensorboard\]"'):
        TensorBoard().start(tmp_path, {})


def test_a_target_that_cannot_be_written(tmp_path):
    (tmp_path / "events").touch()
    with pytest.raises(StorageError, match="events: cannot be written"):
        start(tmp_path)
