"""Files that are complete or not there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dit_toolkit.errors import DataError, StorageError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


def changed(operation: str, path: Path, new: Path | None = None) -> None:
    """Called after each change that the functions below make to the disk; a test of crashes puts its own here."""


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file as `aside` does."""
    with aside(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def aside(path: Path) -> Iterator[IO[bytes]]:
    """Hand out a file beside `path`; at the end it is flushed to the disk and gets the name, after an error it goes.

    Readers see the old file or the whole new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        changed("write", temporary)
        temporary.replace(path)
        changed("rename", temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def write(path: Path, parts: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Write a new file, flush it to the disk, and return its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb", buffering=2**20) as file:
        for part in parts:
            file.write(part)
            digest.update(part)
            size += len(part)
    changed("write", path)
    fsync(path)
    return size, digest.hexdigest()


def fsync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    changed("fsync", path)


def rename(path: Path, new: Path) -> None:
    """Give a file or folder another name in the same folder."""
    path.rename(new)
    changed("rename", path, new)


def remove(folder: Path) -> None:
    """Remove a folder and all that is in it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            remove(path)
        else:
            path.unlink()
            changed("unlink", path)
    folder.rmdir()
    changed("rmdir", folder)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder for one command in a `with` block; DataError where another one has it.

    It is free again when the process ends, however it ends. Where the file system knows no locks nothing is held.
    """
    with (folder / "command.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{folder}: another command is writing there") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn a failing disk into a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error


def refuse_existing(path: Path) -> None:
    """Raise DataError for an output that is there already, or whose folder is not."""
    if path.exists():
        raise DataError(f"{path}: exists already; give another name or remove it")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")


def some(names: Iterable[str], count: int = 3) -> str:
    """Join the first few of many names, with how many there are."""
    names = list(names)
    return ", ".join(names[:count]) + (f", ... ({len(names)} in all)" if len(names) > count else "")


def sha256(*parts: bytes | memoryview) -> str:
    """Hash of bytes, in hex."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
