"""Images out of the archives, one folder for each class; each file is whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tarfile import TarFile, TarInfo

from dit_toolkit import stop
from dit_toolkit.errors import DataError, Interrupted, StorageError
from dit_toolkit.files import some
from dit_toolkit.imagenet.archives import MEGABYTE, members, opened, opened_within, read_member
from dit_toolkit.progress import progress


def extract_train(archive: Path, folder: Path, classes: Collection[str]) -> None:
    """Extract the archive of one archive for each class to `folder/CLASS`, going on from what is there.

    Raises:
        DataError: an archive is damaged, or the classes are not those expected.
        StorageError: the disk is full.
        Interrupted: stopped by a signal.
    """
    seen = set()
    with opened(archive) as outer, _bar(archive) as count:
        for member in members(outer, str(archive)):
            name = PurePosixPath(member.name)
            if name.suffix != ".tar" or name.stem not in classes:
                raise DataError(f"{archive}: {member.name} is not the archive of a class that the kit has")
            file = outer.extractfile(member)
            if file is None or name.stem in seen:
                raise DataError(f"{archive}: {member.name} is there twice")
            inside = f"{archive}: {member.name}"
            with opened_within(file, inside) as inner:
                found = list(members(inner, inside))
                if not found:
                    raise DataError(f"{inside}: holds no image")
                for image in found:
                    _write(inner, image, folder / name.stem, inside)
            seen.add(name.stem)
            count(member.size)
    missing = sorted(set(classes) - seen)
    if missing:
        raise DataError(f"{archive}: {len(missing)} classes are missing: {some(missing)}")


def extract_val(archive: Path, folder: Path, wnids: Sequence[str]) -> None:
    """Extract the validation images to `folder/CLASS`; `wnids` are the classes of their sorted names.

    Raises what `extract_train` does.
    """
    with opened(archive) as tar, _bar(archive) as count:
        found = sorted(members(tar, str(archive)), key=lambda member: member.name)
        if len(found) != len(wnids):
            raise DataError(f"{archive}: holds {len(found)} images, but the kit has classes for {len(wnids)}")
        places = {member.name: wnid for member, wnid in zip(found, wnids, strict=True)}
        for member in sorted(found, key=lambda member: member.offset):
            _write(tar, member, folder / places[member.name], str(archive))
            count(member.size)


@contextmanager
def _bar(archive: Path) -> Iterator[Callable[[int], None]]:
    """Show how many megabytes of an archive are done; hands out what counts bytes."""
    size = archive.stat().st_size
    with progress(f"extract {archive.name} (MB)", size // MEGABYTE) as bar:
        done = 0

        def count(number: int) -> None:
            nonlocal done
            bar.advance((done + number) // MEGABYTE - done // MEGABYTE)
            done += number

        yield count


def _write(tar: TarFile, member: TarInfo, folder: Path, name: str) -> None:
    """Write one image, unless it is there in full."""
    if signal := stop.requested():
        raise Interrupted(f"stopped by {signal}; the same command goes on")
    target = folder / PurePosixPath(member.name).name
    try:
        if target.is_file() and target.stat().st_size == member.size:
            return
        data = read_member(tar, member, name)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_bytes(data)
        temporary.replace(target)
    except OSError as error:
        if error.errno is None:
            raise
        raise StorageError(f"{target}: cannot be written ({error.strerror})") from error
