"""Writes a latent store beside its final place, block by block, so that a killed encoding goes on where it was.

`OUT.partial` holds the files of the splits, at their full length from the start, and a folder `state` with the plan and
a seal for each finished block, written after the block is on the disk. Any number of processes take blocks by locks
that the system releases when one dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.files import alone, fsync, storage, write_atomically
from dit_toolkit.latents.layout import layout
from dit_toolkit.latents.manifest import NAME, Manifest, Skipped, differences, read_manifest, write_manifest


class Block:
    """Some rows of a split, written in order."""

    def __init__(self, store: StoreWriter, split: str, number: int) -> None:
        entry, size = store.plan.splits[split], store.plan.block
        self.store, self.split, self.number = store, split, number
        self.rows = range(number * size, min((number + 1) * size, entry.rows))
        self.seal_path = store.state / f"{split}-{number:06}.json"
        self._digest = hashlib.sha256()
        self._offset = layout(store.plan, entry).latents + self.rows.start * store.plan.row_bytes
        self._skipped: list[Skipped] = []

    @property
    def sealed(self) -> bool:
        """Whether the block is finished."""
        return self.seal_path.exists()

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Take the block; False where it is finished or another process has it."""
        with ExitStack() as stack:
            try:
                lock = stack.enter_context(self.seal_path.with_suffix(".lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, FileNotFoundError):  # Another's, or the store has been finished meanwhile.
                yield False
                return
            yield not self.sealed

    def append(self, rows: np.ndarray, skipped: list[Skipped]) -> None:
        """Write the next rows (N, ...), those of skipped images among them; StorageError where they cannot be."""
        data = rows.tobytes()
        with self.store.file(self.split) as handle:
            done = 0
            while done < len(data):
                done += os.pwrite(handle, data[done:], self._offset + done)
        self._digest.update(data)
        self._offset += len(data)
        self._skipped += skipped
        self.store.unsealed_skips += len(skipped)

    def seal(self) -> None:
        """Declare the block finished, once it is on the disk."""
        with self.store.file(self.split) as handle:
            os.fsync(handle)
        seal = {"sha256": self._digest.hexdigest(), "skipped": [attrs.asdict(skip) for skip in self._skipped]}
        with storage(self.seal_path):
            write_atomically(self.seal_path, json.dumps(seal))
        self.store.unsealed_skips -= len(self._skipped)


class StoreWriter:
    """A store on its way into `out`, with a manifest that still lacks its checksums.

    Raises:
        DataError: another encoding was begun in that place, naming what differs, or something else is there.
        StorageError: the disk has no room.
    """

    def __init__(self, out: Path, plan: Manifest, labels: dict[str, np.ndarray]) -> None:
        self.out, self.plan = out, plan
        self.folder = out.with_name(f"{out.name}.partial")
        self.state = self.folder / "state"
        self.unsealed_skips = 0
        """Images left out of the block that this process is writing."""
        with storage(self.folder):
            self.state.mkdir(parents=True, exist_ok=True)
            if (self.state / "plan.json").exists():
                _refuse_other(self.folder, read_manifest(self.state / "plan.json"), plan)
            else:
                write_manifest(self.state / "plan.json", plan)
            self._refuse_full_disk()
            for split, numbers in labels.items():
                place = layout(plan, plan.splits[split])
                with self.file(split) as handle:
                    os.ftruncate(handle, place.end)
                    os.pwrite(handle, place.header + numbers.astype("<i8").tobytes(), 0)

    def alone(self) -> AbstractContextManager[None]:
        """Hold the store for one command; DataError where another one has it."""
        return alone(self.state)

    @contextmanager
    def file(self, split: str) -> Iterator[int]:
        """Open the file of a split to write at any place; StorageError where the disk fails."""
        path = self.folder / self.plan.splits[split].file
        with storage(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                yield handle
            finally:
                os.close(handle)

    def blocks(self) -> list[Block]:
        """All blocks, in order."""
        return [
            Block(self, split, number)
            for split, entry in self.plan.splits.items()
            for number in range(-(-entry.rows // self.plan.block))
        ]

    def skipped(self) -> dict[str, list[Skipped]]:
        """Images of finished blocks that could not be read."""
        found: dict[str, list[Skipped]] = {split: [] for split in self.plan.splits}
        for block in self.blocks():
            if block.sealed:
                found[block.split] += [Skipped(**skip) for skip in _read_seal(block.seal_path)["skipped"]]
        return found

    def count_skipped(self) -> int:
        """Count the images that could not be read, of finished blocks and of the one in work."""
        return self.unsealed_skips + sum(map(len, self.skipped().values()))

    def finish(self) -> Manifest:
        """Write the manifest and give the store its name, once every block is sealed."""
        digests: dict[str, list[str]] = {split: [] for split in self.plan.splits}
        for block in self.blocks():
            digests[block.split].append(_read_seal(block.seal_path)["sha256"])
        skipped = self.skipped()
        splits = {}
        for split, entry in self.plan.splits.items():
            if len(skipped[split]) == entry.rows:
                raise DataError(
                    f"{self.folder}: no image of {split} could be read; the first: {skipped[split][0].reason}"
                )
            splits[split] = attrs.evolve(entry, blocks_sha256=digests[split], skipped=skipped[split])
        final = attrs.evolve(self.plan, splits=splits)
        with storage(self.out):
            write_manifest(self.state / NAME, final)
            (self.state / NAME).replace(self.folder / NAME)
            self.folder.rename(self.out)
            fsync(self.out.parent)
        sweep(self.out)
        return final

    def _refuse_full_disk(self) -> None:
        needed = 0
        for entry in self.plan.splits.values():
            path = self.folder / entry.file
            needed += layout(self.plan, entry).end - (512 * path.stat().st_blocks if path.exists() else 0)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise StorageError(f"{self.folder}: {needed:,} bytes are needed, {free:,} are free")


def complete(out: Path, plan: Manifest) -> bool:
    """Whether the store that is planned is there already; DataError where something else is."""
    if (out / NAME).is_file():
        _refuse_other(out, read_manifest(out / NAME), plan)
        sweep(out)
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists already and is no latent store; give another name or remove it")
    return False


def sweep(out: Path) -> None:
    """Remove what a finished store no longer needs."""
    shutil.rmtree(out / "state", ignore_errors=True)


def _refuse_other(folder: Path, there: Manifest, here: Manifest) -> None:
    if lines := differences(there, here):
        raise DataError(f"{folder}: holds other latents; give another name or remove it. What differs:", *lines)


def _read_seal(path: Path) -> dict[str, Any]:
    seal: dict[str, Any] = json.loads(path.read_text())
    return seal
