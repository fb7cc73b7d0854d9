"""Parts of a file: whole or not there, of these settings or not taken, put together without holding them."""

import errno
import shutil
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_toolkit import files
from dit_toolkit.drawing import parts as module
from dit_toolkit.drawing.draw import missing
from dit_toolkit.drawing.parts import Parts
from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.images import read_npz

SHAPE = (4, 5, 3)


def images(first, stop, shape=SHAPE):
    return np.random.default_rng(0).integers(0, 256, (stop, *shape), np.uint8)[first:]


@pytest.fixture
def parts(tmp_path):
    made = Parts(out=tmp_path / "x.npz", settings={"seed": 0, "interval": [0.0, 1.0]}, count=20, shape=SHAPE)
    made.folder.mkdir()
    made.claim()
    return made


def like(parts, **changes):
    options = {"out": parts.out, "settings": parts.settings, "count": parts.count, "shape": parts.shape, **changes}
    return Parts(**options)


def test_parts_of_any_size_give_one_file(parts):
    for first, stop in ((7, 8), (0, 7), (8, 20)):
        parts.write(first, images(first, stop))
    assert parts.found() == [range(0, 7), range(7, 8), range(8, 20)]
    parts.pack('{"labels": []}')
    assert (read_npz(parts.out) == images(0, 20)).all()
    assert parts.out.with_suffix(".json").read_text() == '{"labels": []}'
    parts.remove()
    assert sorted(path.name for path in parts.out.parent.iterdir()) == ["x.json", "x.npz"]


@given(st.lists(st.integers(0, 59), unique=True), st.integers(1, 60), st.integers(1, 25))
def test_batches_are_what_is_missing(cuts, count, size):
    """Cover every sample once with `done`, in batches that are no larger; all of one size where `done` is of it."""
    edges = sorted({min(cut, count) for cut in cuts} | {0, count})
    spans = [range(a, b) for a, b in pairwise(edges)]
    done = spans[::2]
    left = list(missing(done, count, size))
    assert sorted(n for span in (*done, *left) for n in span) == list(range(count))
    assert all(0 < len(batch) <= size for batch in left)
    whole = list(missing([], count, size))
    assert list(missing(whole[::2], count, size)) == whole[1::2]


@pytest.mark.parametrize("damage", ["short", "flipped", "header", "empty", "other size", "of another run"])
def test_what_is_damaged_is_drawn_again_and_never_packed(parts, damage, capsys):
    parts.write(0, images(0, 10))
    parts.write(10, images(10, 20))
    _, path = sorted(parts.folder.glob("*.npy"))
    data = path.read_bytes()
    if damage == "short":
        path.write_bytes(data[:-1])
    elif damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "header":
        path.write_bytes(data.replace(b"|u1", b"|i1"))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other size":
        path.unlink()
        like(parts, shape=(4, 4, 3)).write(10, images(10, 20, (4, 4, 3)))
    else:
        path.unlink()
        like(parts, settings={"seed": 1}).write(10, images(10, 20))
    with pytest.raises(StorageError, match="samples 10 to 19 have changed since they were written"):
        parts.pack("{}")
    assert not parts.out.exists()
    assert parts.found() == [range(0, 10)]
    assert "is damaged; these samples are drawn again" in capsys.readouterr().err
    parts.write(10, images(10, 20))
    parts.pack("{}")
    assert (read_npz(parts.out) == images(0, 20)).all()


def test_what_was_written_half_is_swept_and_parts_never_overlap(parts, capsys):
    parts.write(0, images(0, 10))
    parts.write(5, images(5, 15))
    (parts.folder / ".000000010-000000020-0.npy.1.tmp").write_bytes(b"half")
    assert parts.found() == [range(0, 10)]
    assert [path.suffix for path in sorted(parts.folder.iterdir())] == [".npy", ".json"]


def test_other_settings_are_refused_and_nothing_is_deleted(parts):
    other = like(parts, settings={"seed": 0, "interval": [0.2, 1.0], "guide": "x"})
    other.claim()
    parts.claim()  # Without a part there is nothing to protect.
    parts.write(0, images(0, 10))
    with pytest.raises(DataError) as caught:
        other.claim()
    assert caught.value.lines == (
        f"{parts.folder}: holds samples with other settings; give another --out, or remove it. What differs:",
        "  interval: [0.0, 1.0] there, [0.2, 1.0] here",
        '  guide: null there, "x" here',
    )
    assert parts.found() == [range(0, 10)]
    (parts.folder / "settings.json").write_text("{")
    with pytest.raises(DataError, match="holds samples with other settings"):
        parts.claim()


def test_two_commands_at_once_are_refused(parts):
    with files.alone(parts.folder), pytest.raises(DataError, match="another command is writing there"):
        files.alone(parts.folder).__enter__()


def test_a_file_that_came_meanwhile_is_not_overwritten(parts):
    parts.write(0, images(0, 20))
    parts.out.write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        parts.pack("{}")
    assert parts.out.read_text() == "mine"


def test_a_full_disk_is_seen_before_anything_is_drawn(parts, monkeypatch):
    size = 20 * 60
    usage = shutil.disk_usage(parts.folder)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=2 * size - 10 * 60))
    parts.refuse_full_disk(10)
    with pytest.raises(StorageError, match=r"x.npz: 0.0 MB are needed.* Make room and run the same command again"):
        parts.refuse_full_disk(9)


def test_a_disk_that_fills_up_loses_nothing(parts, monkeypatch):
    parts.write(0, images(0, 10))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match=r"x.npz.partial: cannot be written \(No space left on device\)"):
        parts.write(10, images(10, 20))
    monkeypatch.undo()
    assert parts.found() == [range(0, 10)]
    parts.write(10, images(10, 20))
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written"):
        parts.pack("{}")
    monkeypatch.undo()
    assert not parts.out.exists()
    parts.pack("{}")
    assert (read_npz(parts.out) == images(0, 20)).all()


def test_packing_holds_one_part(tmp_path):
    shape, count = (64, 64, 3), 2_000
    parts = Parts(out=tmp_path / "x.npz", settings={}, count=count, shape=shape)
    parts.folder.mkdir()
    batch = np.zeros((50, *shape), np.uint8)
    for first in range(0, count, len(batch)):
        parts.write(first, batch)
    tracemalloc.start()
    try:
        parts.found()
        parts.pack("{}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert parts.out.stat().st_size > count * batch[0].nbytes
    assert peak < 5 * batch.nbytes, f"{peak} bytes for parts of {batch.nbytes}"
