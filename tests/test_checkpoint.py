"""The protocol of checkpoints: after any crash and any damage a verified one is found."""

import errno
import json
import shutil
import subprocess
import sys

import pytest

from dit_toolkit import checkpoint
from dit_toolkit.errors import CheckpointError, StorageError
from tests.crashes import MODES, Recorder, lay_out


def save(folder, step, *, keep=2, **more):
    files = {"weights": [b"weights of %d, " % step, b"and more"], "recipe": [b"recipe"]}
    return checkpoint.save(folder, step, files, size=40, keep=keep, **more)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def steps(folder):
    return [int(p.name[5:]) for p in checkpoint.checkpoints(folder)]


def test_a_verified_checkpoint_is_found_after_a_crash_at_every_point(tmp_path, monkeypatch):
    """Every prefix of what two saves did, with what was not flushed kept, lost or torn, names and data apart."""
    folder = tmp_path / "checkpoints"
    for step in (1, 2, 4):
        save(folder, step, keep=9)
    (folder / "step-00000004/weights").write_bytes(b"damaged")
    recorder, complete = Recorder(folder, monkeypatch), []
    for step in (3, 4):
        save(folder, step)
        complete.append(len(recorder.crashes))
    assert complete == [15, 29]
    for number, (change, states) in enumerate(recorder.crashes, 1):
        durable = 2 + sum(number >= point for point in complete)
        for mode, state in zip(MODES, states, strict=True):
            crashed = tmp_path / "crashed"
            lay_out(crashed, state)
            found = checkpoint.newest(crashed)
            assert found is not None, (change, mode)
            assert int(found.name[5:]) >= durable, (change, mode)
            assert (found / "weights").read_bytes() == b"weights of %d, and more" % int(found.name[5:])
            shutil.rmtree(crashed)


def test_what_a_killed_save_left_is_gone_after_the_next(tmp_path):
    save(tmp_path, 1)
    for left in (".tmp-00000002-abc", ".del-step-00000000-abc"):
        (tmp_path / left / "inner").mkdir(parents=True)
        (tmp_path / left / "inner/file").write_text("")
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize(
    ("keep", "keep_every", "kept"),
    [(2, None, [9, 10]), (3, None, [8, 9, 10]), (2, 4, [4, 8, 9, 10]), (2, 5, [5, 9, 10]), (2, 1, list(range(1, 11)))],
)
def test_the_newest_and_every_kth_are_kept(tmp_path, keep, keep_every, kept):
    for step in range(1, 11):
        save(tmp_path, step, keep=keep, keep_every=keep_every)
    assert steps(tmp_path) == kept


def test_damaged_ones_ahead_do_not_count_as_kept(tmp_path):
    """Going on from 1 past the damaged 5 and 9, the two newest that are sound stay."""
    for step in (1, 5, 9):
        (save(tmp_path, step, keep=9) / "weights").write_bytes(b"" if step > 1 else b"weights of 1, and more")
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert steps(tmp_path) == [2, 3]
    assert [name[:22] for name in names(tmp_path)[:2]] == [".damaged-step-00000005", ".damaged-step-00000009"]


def change(name):
    """Ways to damage the file of a name."""

    def cut(path):
        path.write_bytes(path.read_bytes()[:-1])

    def flip(path):
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])

    ways = {
        "cut": cut,
        "flipped": flip,
        "empty": lambda path: path.write_bytes(b""),
        "missing": lambda path: path.unlink(),
    }
    return [pytest.param(name, way, id=f"{name} {what}") for what, way in ways.items()]


def rewrite(**values):
    def way(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return way


MANIFESTS = [
    rewrite(format=9),
    rewrite(step=3),
    rewrite(step="2"),
    rewrite(files=[]),
    rewrite(files={"weights": 3}),
    rewrite(files={"weights": [1, 2]}),
    lambda path: path.write_text("[]"),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: shutil.rmtree(path.parent),
]


@pytest.mark.parametrize(
    ("name", "way"),
    [*change("weights"), *change("recipe"), *change("manifest.json"), *(("manifest.json", way) for way in MANIFESTS)],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, capsys, name, way):
    for step in (1, 2):
        save(tmp_path, step)
    way(tmp_path / "step-00000002" / name)
    assert checkpoint.newest(tmp_path) == tmp_path / "step-00000001"
    if (tmp_path / "step-00000002").is_dir():
        assert "step-00000002 is damaged" in capsys.readouterr().err
    save(tmp_path, 2)
    assert checkpoint.newest(tmp_path) == tmp_path / "step-00000002"


def test_none_and_only_damaged_ones(tmp_path):
    assert checkpoint.newest(tmp_path / "no-such-folder") is None
    assert checkpoint.newest(tmp_path) is None
    (save(tmp_path, 1) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        checkpoint.newest(tmp_path)


def test_too_little_space_is_found_before_anything_is_written(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 39, 39))
    with pytest.raises(
        StorageError, match=r"step 2 needs 0\.0 MB, and 0\.0 MB are free; those before it are as they were"
    ):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]
    assert checkpoint.newest(tmp_path).name == "step-00000001"


def test_a_disk_that_fills_up_leaves_the_last_one_and_its_space(tmp_path):
    def parts():
        yield b"some"
        raise OSError(errno.ENOSPC, "No space left on device")

    save(tmp_path, 1)
    with pytest.raises(StorageError, match=r"cannot write the checkpoint of step 2: .*No space left"):
        checkpoint.save(tmp_path, 2, {"weights": parts()}, size=8, keep=2)
    assert names(tmp_path) == ["step-00000001"]


LIMITED = """
import resource, sys
from pathlib import Path
from dit_toolkit import checkpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
checkpoint.save(Path(sys.argv[1]), 2, {"small": [bytes(10)], "large": [bytes(9_000)] * 20}, size=180_010, keep=2)
"""


def test_a_limit_of_the_system_in_the_midst_of_a_file(tmp_path):
    save(tmp_path, 1)
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True)
    assert "StorageError" in done.stderr
    assert "cannot write the checkpoint of step 2: [Errno 27] File too large" in done.stderr
    assert names(tmp_path) == ["step-00000001"]
    assert checkpoint.verify(tmp_path / "step-00000001") == []


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the checkpoint of step 1"):
        save(tmp_path / "file", 1)
