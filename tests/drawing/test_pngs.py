"""A folder of PNG files holds those of one command, and nothing else."""

import errno

import numpy as np
import pytest

from dit_toolkit import files
from dit_toolkit.drawing.pngs import Pngs
from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.images import read_folder

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


@pytest.fixture
def pngs(tmp_path):
    return Pngs(folder=tmp_path / "png", count=4, record=tmp_path / "png.json")


def test_each_image_is_a_file_without_loss(pngs):
    pngs.check()
    pngs.claim()
    assert pngs.missing(range(4)) == [0, 1, 2, 3]
    pngs.write(2, IMAGES[2:])
    pngs.check()
    assert pngs.missing(range(1, 4)) == [1]
    pngs.write(0, IMAGES[:2])
    assert [path.name for path in sorted(pngs.folder.iterdir())] == [f"00000{i}.png" for i in range(4)]
    assert (read_folder(pngs.folder) == IMAGES).all()


@pytest.mark.parametrize("name", ["notes.txt", "000000.png", ".hidden", "000000.png/"])
def test_a_folder_with_something_in_it_is_refused_and_left_alone(pngs, name):
    path = pngs.folder / name
    path.mkdir(parents=True) if name.endswith("/") else (pngs.folder.mkdir(), path.write_text("kept"))
    with pytest.raises(DataError, match=rf"png: holds {name.rstrip('/')}; --png needs an empty folder, or a new one"):
        pngs.check()
    assert path.exists()


@pytest.mark.parametrize("name", ["000004.png", "0000000.txt", "mine.png"])
def test_going_on_among_other_files_is_refused_too(pngs, name):
    pngs.claim()
    pngs.write(0, IMAGES[:1])
    pngs.check()
    (pngs.folder / name).write_text("kept")
    with pytest.raises(DataError, match=f"holds {name}"):
        pngs.check()


def test_what_a_killed_process_wrote_half_is_swept(pngs):
    pngs.claim()
    (pngs.folder / ".000001.png.17.tmp").write_bytes(b"half")
    pngs.check()
    pngs.claim()
    assert list(pngs.folder.iterdir()) == []


def test_places_that_cannot_be(pngs, tmp_path):
    pngs.folder.write_text("a file")
    with pytest.raises(DataError, match="png: is a file; --png needs a folder"):
        pngs.check()
    with pytest.raises(DataError, match="there is no folder"):
        Pngs(folder=tmp_path / "nowhere/png", count=1, record=tmp_path / "png.json").check()


def test_a_full_disk(pngs, monkeypatch):
    pngs.claim()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match=r"png: cannot be written \(No space left on device\)"):
        pngs.write(0, IMAGES)
    monkeypatch.undo()
    assert list(pngs.folder.iterdir()) == []
