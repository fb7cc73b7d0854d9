"""Images as arrays uint8 (N, H, W, 3): from a sampler's floats, to and from .npz files and folders."""

from __future__ import annotations

import contextlib
import io
import math
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import numpy as np
from PIL import Image

from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.files import fsync, some

T = TypeVar("T")

MEMBER = "arr_0.npy"
CHUNK = 2**24
SUFFIXES = (".png", ".jpg", ".jpeg")
"""Of the files that `read_folder` reads."""


def to_uint8(x: Any) -> np.ndarray:
    """Turn x (N, C, H, W) in [-1, 1], an array or CPU tensor, into uint8 (N, H, W, 3): clamp(127.5 x + 128), truncated.

    One channel is repeated to three. This is the rounding of ADM and DiT (guided-diffusion, `image_sample.py`).

    Raises:
        ValueError: x has another rank, or channels other than 1 and 3.
        DataError: x holds NaN.
    """
    x = np.asarray(x, dtype=np.float32)
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"images must be (N, 1 or 3, H, W); seen {x.shape}")
    broken = int(np.isnan(x).any(axis=(1, 2, 3)).sum())
    if broken:
        raise DataError(f"{broken} of {len(x)} images hold NaN")
    pixels = np.clip(x * np.float32(127.5) + np.float32(128), 0, 255).astype(np.uint8)  # (N, C, H, W)
    return np.ascontiguousarray(np.broadcast_to(pixels.transpose(0, 2, 3, 1), (len(x), *x.shape[2:], 3)))


def to_png(image: np.ndarray) -> bytes:
    """Contents of a PNG file with the image uint8 (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


class NpzWriter:
    """Streams exactly `count` images uint8 of `shape` (H, W, 3) into the array `arr_0` of a new .npz file.

    Used in a `with` block: nothing is at `path` before its end, and nothing stays behind after an error. Equal images
    give equal files, byte for byte.

    Raises:
        DataError: `path` exists, or the number of images written is not `count`.
        StorageError: the disk is full or not writable.
    """

    def __init__(self, path: Path | str, count: int, shape: tuple[int, int, int]) -> None:
        self.path, self.count, self.shape, self.written = Path(path), count, shape, 0
        self._refuse_existing()
        self._temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        try:
            self._file = self._temporary.open("xb")
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._member = self._zip.open(zipfile.ZipInfo(MEMBER), "w", force_zip64=True)
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(self._member, header)

    def write(self, images: np.ndarray) -> None:
        """Append images uint8 (N, H, W, 3)."""
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ValueError(f"expected uint8 (N, {_sizes(self.shape)}); seen {images.dtype} {images.shape}")
        if self.written + len(images) > self.count:
            raise DataError(f"{self.path}: {self.written + len(images)} images for a file of {self.count}")
        try:
            self._member.write(np.ascontiguousarray(images).data)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written ({error.strerror})") from error
        self.written += len(images)

    def close(self) -> None:
        """Flush to the disk and give the file its name."""
        try:
            if self.written != self.count:
                raise DataError(f"{self.path}: {self.written} images were written, {self.count} were promised")
            self._member.close()
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._refuse_existing()
            self._temporary.rename(self.path)
            fsync(self.path.parent)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written ({error.strerror})") from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Give up: remove what was written, unless it has its name already."""
        for part in (self._member, self._zip, self._file):
            with contextlib.suppress(OSError):
                part.close()
        self._temporary.unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        if self.path.exists():
            raise DataError(f"{self.path}: exists already; give another name or remove it")

    def __enter__(self) -> NpzWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close() if error is None else self.discard()


def read_npz(path: Path | str) -> np.ndarray:
    """Read the images uint8 (N, H, W, 3) of the array `arr_0`; other arrays (ADM's `mu`, `sigma`) are left alone.

    The whole is compared with its checksum. Where it is not compressed it is then mapped from the file and not held in
    memory, and cannot be written to.

    Raises:
        DataError: the file is missing, damaged or no .npz, or `arr_0` is missing, pickled or of another type or shape.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if MEMBER not in archive.namelist():
                raise DataError(f"{path}: holds no array arr_0; it holds {', '.join(archive.namelist()) or 'nothing'}")
            info = archive.getinfo(MEMBER)
            with archive.open(info) as member:
                shape, fortran, start = _read_header(member, path)
                mapped = info.compress_type == zipfile.ZIP_STORED and not fortran
                images = None if mapped else np.empty(shape, np.uint8, order="F" if fortran else "C")
                _read_whole(member, shape, images, path)
        if images is None:
            offset = _start_of(path, info) + start
            images = np.memmap(path, np.uint8, "r", offset, shape).view(np.ndarray)
        return images
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not an .npz file, or damaged ({error})") from error
    except (OSError, ValueError, EOFError, zlib.error, NotImplementedError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _read_header(member: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, int]:
    """Shape, order and start of the data of one .npy stream of images, without ever unpickling."""
    version = np.lib.format.read_magic(member)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(member)
    if dtype.hasobject:
        raise DataError(f"{path}: arr_0 holds pickled objects, which are never loaded; expected uint8 (N, H, W, 3)")
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        hint = "; pixels of -1 to 1 become clamp(127.5 x + 128)" if dtype.kind == "f" else ""
        raise DataError(f"{path}: arr_0 is {dtype} ({_sizes(shape)}); expected uint8 (N, H, W, 3){hint}")
    return shape, fortran, member.tell()


def _read_whole(member: IO[bytes], shape: tuple[int, ...], images: np.ndarray | None, path: Path) -> None:
    """Read the data of an .npy stream to its end, which makes zipfile compare the checksum; into `images` if given."""
    size, filled = math.prod(shape), 0
    room = None if images is None else images.reshape(-1, order="A").data
    buffer = memoryview(bytearray(min(size, CHUNK)))
    while count := member.readinto(buffer if room is None else room[filled : filled + CHUNK]):  # type: ignore[attr-defined]
        filled += count
        if filled >= size:
            break
    if filled != size or member.read(1):
        raise DataError(f"{path}: arr_0 ({_sizes(shape)}) is not {size} bytes long; the file is damaged")


def _start_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the data of a member begins: behind its local header of 30 bytes, its name and its extra field."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + int(name) + int(extra)


def read_folder(path: Path | str, most: int | None = None) -> np.ndarray:
    """Read every PNG and JPEG file of a folder, or the first ones, in the order of their names, as uint8 (N, H, W, 3).

    Raises:
        DataError: there is no image, one is damaged, or two differ in size; the message names the files.
    """
    folder = FolderImages(path, most)
    return folder[np.arange(len(folder))]


class FolderImages:
    """The PNG and JPEG files of a folder in the order of their names, uint8 (N, H, W, 3), read as they are asked for.

    Raises:
        DataError: there is no image, one is damaged, or two differ in size; the message names the files.
    """

    def __init__(self, path: Path | str, most: int | None = None) -> None:
        path = Path(path)
        self.names = sorted(p for p in path.glob("*") if p.suffix.lower() in SUFFIXES)[:most]
        if not self.names:
            raise DataError(f"{path}: holds no .png or .jpg file" if path.is_dir() else f"{path}: no such folder")
        sizes = [_open(name, lambda picture: picture.size) for name in self.names]
        odd = [f"{n.name} {w} x {h}" for n, (w, h) in zip(self.names, sizes, strict=True) if (w, h) != sizes[0]]
        if odd:
            first = " x ".join(map(str, sizes[0]))
            raise DataError(f"{path}: all must have one size; {self.names[0].name} has {first} pixels, but {some(odd)}")
        self.shape = (len(self.names), sizes[0][1], sizes[0][0], 3)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return np.stack([_open(self.names[i], lambda picture: np.asarray(picture.convert("RGB"))) for i in index])


def _open(name: Path, read: Callable[[Image.Image], T]) -> T:
    """Read something of an image; DataError where it is damaged."""
    try:
        with Image.open(name) as picture:
            return read(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: not a readable image ({error})") from error


def _sizes(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
