"""Archives that are what they should be, and reading them without trusting them."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from attrs import frozen

from dit_toolkit.errors import DataError
from dit_toolkit.progress import progress

CHUNK = 2**22
MEGABYTE = 10**6


@frozen
class Archive:
    """What is published about an archive."""

    name: str
    md5: str
    size: int


PUBLISHED: Mapping[str, Archive] = {
    "train": Archive("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e", 147_897_477_120),
    "val": Archive("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622", 6_744_924_160),
    "devkit": Archive("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf", 2_568_145),
}
"""The MD5 sums are those that torchvision checks."""


def find(folder: Path, archive: Archive) -> Path:
    """Find an archive of the right size in a folder; DataError where it is not there, or cut off."""
    path = folder / archive.name
    if not path.is_file():
        raise DataError(f"{path}: no such file; image-net.org has it for those who are registered")
    size = path.stat().st_size
    if size != archive.size:
        what = "cut off" if size < archive.size else "another file"
        raise DataError(f"{path}: has {size:,} bytes instead of {archive.size:,}; it is {what}")
    return path


def verify(path: Path, archive: Archive) -> None:
    """Compare an archive with its MD5 sum, with progress in megabytes; DataError where it differs."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, progress(f"verify {path.name} (MB)", path.stat().st_size // MEGABYTE) as bar:
        read = 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.advance((read + len(chunk)) // MEGABYTE - read // MEGABYTE)
            read += len(chunk)
    if digest.hexdigest() != archive.md5:
        raise DataError(f"{path}: its MD5 sum is {digest.hexdigest()} instead of {archive.md5}; it is damaged")


@contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a .tar or .tar.gz file; whatever is wrong with it becomes a DataError that names it."""
    with faults(str(path)), tarfile.open(path) as tar:
        yield tar


@contextmanager
def opened_within(file: IO[bytes], name: str) -> Iterator[tarfile.TarFile]:
    """Open a .tar file that is a member of another."""
    with faults(name), tarfile.open(fileobj=file, mode="r:") as tar:
        yield tar


@contextmanager
def faults(name: str) -> Iterator[None]:
    """Turn what tarfile raises for damaged archives into a DataError that names the archive."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{name}: is cut off or damaged ({error})") from None


def members(tar: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    """Go through the regular files of an archive; folders are passed over.

    Raises:
        DataError: a link or device, a path that leaves the folder, or an archive without an end.
    """
    for member in tar:
        parts = PurePosixPath(member.name).parts
        if member.isdir():
            continue
        if not member.isreg():
            raise DataError(f"{name}: {member.name!r} is a link or device, which no ImageNet archive has; refused")
        if not parts or member.name.startswith("/") or ".." in parts or "\\" in member.name or "\0" in member.name:
            raise DataError(f"{name}: {member.name!r} would leave the folder it is extracted to; refused")
        yield member
    file: Any = tar.fileobj
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{name}: is cut off; it has no end")


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    """Read a whole member; DataError where the archive ends within it."""
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise DataError(f"{name}: is cut off within {member.name}")
    return data
