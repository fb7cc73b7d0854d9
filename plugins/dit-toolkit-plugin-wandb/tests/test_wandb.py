import json
import struct
import sys
import tempfile
import time

import pytest
from dit_toolkit_plugin_wandb import WandB
from PIL import Image

from dit_toolkit import PluginError, StorageError
from dit_toolkit.testing import parametrize_with_checks


@pytest.fixture(autouse=True, scope="module")
def offline():
    """Nothing of wandb's leaves the machine, or is written outside a temporary folder."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            patch.setenv(name, folder)
        yield
        if "wandb" in sys.modules:
            sys.modules["wandb"].teardown()


@parametrize_with_checks([WandB(), WandB(project="p", name="n", tags=("a", "b")), WandB(mode="disabled")])
def test_contract(component, check):
    check(component)


def records(folder):
    """Every record of a folder's offline runs, which wandb's own process writes a moment after `close`."""
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        deadline = time.monotonic() + 60
        while not (read := list(parse(path.read_bytes()))) or read[-1].WhichOneof("record_type") != "exit":
            assert time.monotonic() < deadline, f"{path} has no end: {read}"
            time.sleep(0.02)
        found += read
    return found


def parse(data):
    """The records of a file: protocol buffers in blocks of 32 KiB, each with checksum, length and kind of part."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, text = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # no header fits into the rest of a block
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        text += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(text)
            text = b""


def history(folder):
    """The logged values by step."""
    rows = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            rows[row.pop("_step")] = {key: value for key, value in row.items() if not key.startswith("_")}
    return rows


def run_of(folder):
    """What the offline files say of each run."""
    return [record.run for record in records(folder) if record.WhichOneof("record_type") == "run"]


def test_what_is_logged_is_in_the_files_of_the_run(tmp_path):
    tracker = WandB(project="p", tags=("a", "b"))
    tracker.start(tmp_path, {"seed": 3, "model": {"hidden_size": 16}})
    tracker.log(1, {"step": 1, "loss": 0.5})
    tracker.log(10, {"step": 10, "loss": 0.25, "val/loss": 0.75})
    Image.new("RGB", (8, 8)).save(tmp_path / "grid.png")
    tracker.images(11, "samples", tmp_path / "grid.png")
    tracker.close()
    rows = history(tmp_path)
    assert rows[1] == {"loss": 0.5}
    assert rows[10] == {"loss": 0.25, "val/loss": 0.75}
    assert rows[11]["samples/_type"] == "image-file"
    [picture] = tmp_path.glob("wandb/offline-run-*/files/media/images/*.png")
    assert picture.read_bytes() == (tmp_path / "grid.png").read_bytes()
    [run] = run_of(tmp_path)
    config = {update.key: json.loads(update.value_json) for update in run.config.update}
    assert (run.project, run.display_name, list(run.tags)) == ("p", tmp_path.name, ["a", "b"])
    assert (config["seed"], config["model"]) == (3, {"hidden_size": 16})


def test_a_resumed_run_has_the_same_id(tmp_path):
    for step in (1, 2):
        tracker = WandB(name="n")
        tracker.start(tmp_path, {})
        tracker.log(step, {"loss": 1.0 / step})
        tracker.close()
    first, second = run_of(tmp_path)
    assert first.run_id == second.run_id
    assert first.display_name == "n"
    assert history(tmp_path) == {1: {"loss": 1.0}, 2: {"loss": 0.5}}


def test_two_runs_at_once_are_two_runs(tmp_path):
    trackers = {name: WandB() for name in ("one", "two")}
    for name, tracker in trackers.items():
        (tmp_path / name).mkdir()
        tracker.start(tmp_path / name, {})
    for name, tracker in trackers.items():
        tracker.log(1, {name: 1.0})
        tracker.close()
    assert [history(tmp_path / name) for name in trackers] == [{1: {"one": 1.0}}, {1: {"two": 1.0}}]


def test_disabled_records_nothing(tmp_path):
    tracker = WandB(mode="disabled")
    tracker.start(tmp_path, {})
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    assert not records(tmp_path)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PluginError, match="needs the package of this name") as caught:
        WandB().start(tmp_path, {})
    assert "pip install wandb" in str(caught.value)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "wandb").write_text("in the way")
    with pytest.raises(StorageError, match=r"wandb: cannot be written \(File exists\)"):
        WandB().start(tmp_path, {})


def test_what_wandb_refuses_is_one_clear_error(tmp_path):
    with pytest.raises(PluginError, match=r"the tracker 'wandb' cannot start: .*project"):
        WandB(project="a/b").start(tmp_path, {})
