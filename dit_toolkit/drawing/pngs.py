"""A folder with one PNG file for each sample, and with nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from attrs import frozen

from dit_toolkit.errors import DataError
from dit_toolkit.files import storage, write_atomically
from dit_toolkit.images import to_png

_NAME = re.compile(r"(\d{6,})\.png")
_TEMPORARY = re.compile(r"\.\d{6,}\.png\.\d+\.tmp")


@frozen(kw_only=True)
class Pngs:
    """Files 000000.png, 000001.png, ... of `count` samples, each whole or not there."""

    folder: Path
    count: int
    record: Path
    """A file that says which folder an unfinished command writes to, so that it goes on there."""

    def check(self) -> None:
        """Raise DataError where the folder holds anything that the command which goes on has not put there."""
        if not self.folder.parent.is_dir():
            raise DataError(f"{self.folder}: there is no folder {self.folder.parent}")
        if self.folder.exists() and not self.folder.is_dir():
            raise DataError(f"{self.folder}: is a file; --png needs a folder")
        begun = self._begun()
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            own = _TEMPORARY.fullmatch(path.name) or (match and int(match[1]) < self.count)
            if not begun or not own:
                raise DataError(f"{self.folder}: holds {path.name}; --png needs an empty folder, or a new one")

    def claim(self) -> None:
        """Make the folder and note it down; remove what processes that were killed wrote half."""
        with storage(self.folder):
            self.folder.mkdir(exist_ok=True)
            write_atomically(self.record, json.dumps(str(self.folder.resolve())))
            for path in self.folder.glob(".*.tmp"):
                path.unlink()

    def missing(self, part: range) -> list[int]:
        """Samples of a part without a file."""
        return [number for number in part if not self._path(number).exists()]

    def write(self, first: int, images: np.ndarray) -> None:
        """Write the images uint8 (N, H, W, 3) of samples from `first` on; StorageError where they cannot be."""
        with storage(self.folder):
            for number, image in enumerate(images, first):
                write_atomically(self._path(number), to_png(image))

    def _begun(self) -> bool:
        try:
            found = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found == str(self.folder.resolve()))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.png"
