"""What has been drawn so far, in a folder beside the file to be: whichever process drew it, and in whatever batches."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.files import fsync, refuse_existing, sha256, storage, write_atomically
from dit_toolkit.images import NpzWriter
from dit_toolkit.progress import track, warn

SETTINGS, WHOLE = "settings.json", "whole.npz"
"""In the folder: what is drawn, and the file to be, while everything is put together."""
DIGITS = 16
_NAME = re.compile(rf"(\d{{9,}})-(\d{{9,}})-[0-9a-f]{{{DIGITS}}}\.npy")


def partial(out: Path) -> Path:
    """The folder of the parts of a file."""
    return out.with_name(f"{out.name}.partial")


def refuse_taken(out: Path) -> None:
    """Raise DataError where a file is there already, or a .json beside it that no unfinished command has left."""
    refuse_existing(out)
    if not partial(out).is_dir():
        refuse_existing(out.with_suffix(".json"))


@frozen(kw_only=True)
class Parts:
    """The images of an .npz file on their way, in files FIRST-STOP-DIGEST.npy: samples FIRST to STOP - 1, uint8 NHWC.

    A part is written aside and gets its name when it is whole and on the disk. The digest is that of the settings and
    of the bytes, so that a part that is damaged, or of other settings, is never taken for one.
    """

    out: Path
    settings: Mapping[str, Any]
    """What the images depend on, as JSON has it; a command with others does not go on here."""
    count: int
    """Images of the whole."""
    shape: tuple[int, int, int]
    """Of an image, (H, W, 3)."""

    @property
    def folder(self) -> Path:
        """Where the parts are."""
        return partial(self.out)

    def claim(self) -> None:
        """Note the settings down; DataError where there are parts with others."""
        if differ := self.differences():
            head = f"{self.folder}: holds samples with other settings; give another --out, or remove it. What differs:"
            raise DataError(head, *differ)
        with storage(self.folder):
            write_atomically(self.folder / SETTINGS, json.dumps(dict(self.settings), indent=1))

    def differences(self) -> list[str]:
        """Settings of the parts that are there which are not these, a line each."""
        if not any(self._named()):
            return []
        try:
            there: Any = json.loads((self.folder / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            there = {}
        pairs = [(key, there.get(key), self.settings.get(key)) for key in {**self.settings, **there}]
        return [f"  {key}: {_short(old)} there, {_short(new)} here" for key, old, new in pairs if old != new]

    def found(self) -> list[range]:
        """Samples that are drawn, in order. What is damaged is removed with a warning, to be drawn again."""
        done: list[range] = []
        for path in self.folder.glob(".*.tmp"):  # of processes that were killed while they wrote
            path.unlink()
        for path, part in track(self._named(), "check what is drawn"):
            if self._read(path, part) is not None and part.start >= (done[-1].stop if done else 0):
                done.append(part)
            else:
                warn(f"{path}: is damaged; these samples are drawn again")
                path.unlink()
        return done

    def refuse_full_disk(self, done: int) -> None:
        """Raise StorageError where the disk has no room for what is missing beside `done` images, and for the file."""
        needed = (2 * self.count - done) * int(np.prod(self.shape))
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise StorageError(
                f"{self.out}: {needed / 1e6:,.1f} MB are needed, of which the parts take half until they are put "
                f"together, and {free / 1e6:,.1f} MB are free. Make room and run the same command again"
            )

    def write(self, first: int, images: np.ndarray) -> None:
        """Keep the images uint8 (N, H, W, 3) of samples from `first` on; StorageError where the disk does not."""
        file = io.BytesIO()
        np.save(file, images)
        data = file.getvalue()
        name = f"{first:09d}-{first + len(images):09d}-{self._digest(data)}.npy"
        with storage(self.folder):
            write_atomically(self.folder / name, data)

    def read(self, part: range) -> np.ndarray:
        """Images uint8 (N, H, W, 3) of a part; StorageError where it has changed since it was written."""
        for path in self.folder.glob(f"{part.start:09d}-{part.stop:09d}-*.npy"):
            if (images := self._read(path, part)) is not None:
                return images
        raise StorageError(
            f"{self.folder}: samples {part.start} to {part.stop - 1} have changed since they were written; the same "
            "command draws them again"
        )

    def pack(self, facts: str) -> None:
        """Put all parts into the file, and facts (JSON) into a file beside it; each is whole or not there.

        Raises:
            DataError: a file was put there meanwhile.
            StorageError: the disk is full, or has changed a part.
        """
        whole = self.folder / WHOLE
        with storage(self.out):
            whole.unlink(missing_ok=True)
        with NpzWriter(whole, self.count, self.shape) as writer:
            for _, part in self._named():
                writer.write(self.read(part))
        with storage(self.out):
            refuse_existing(self.out)
            write_atomically(self.out.with_suffix(".json"), facts)
            whole.rename(self.out)
            fsync(self.out.parent)

    def remove(self) -> None:
        """Remove the folder, once nobody holds it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _named(self) -> Sequence[tuple[Path, range]]:
        """Files of parts, and the samples that they say they hold, in order."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if match := _NAME.fullmatch(path.name):
                found.append((path, range(int(match[1]), int(match[2]))))
        return sorted(found, key=lambda named: (named[1].start, named[1].stop, named[0]))

    def _read(self, path: Path, part: range) -> np.ndarray | None:
        """Images of a file; None where it is not as it was written."""
        data = path.read_bytes()
        if self._digest(data) != path.stem[-DIGITS:]:
            return None
        images: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
        fits = images.dtype == np.uint8 and images.shape == (len(part), *self.shape) and part.stop <= self.count
        return images if fits else None

    def _digest(self, data: bytes) -> str:
        """Of the settings and of a file."""
        settings = json.dumps(dict(self.settings), sort_keys=True).encode()
        return sha256(settings, b"\0", data)[:DIGITS]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:120]} ..."
