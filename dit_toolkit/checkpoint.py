"""Checkpoints that are either complete and verified, or not there.

A checkpoint is written into `.tmp-<step>-<nonce>/`; every file is hashed as it is written, and fsynced; `manifest.json`
comes last; it and the folder are fsynced, the folder is renamed to `step-<step>` and its parent fsynced; only then are
old checkpoints pruned. A reader believes a folder whose manifest and hashes hold, and takes the newest of these.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dit_toolkit.errors import CheckpointError, StorageError
from dit_toolkit.files import fsync, remove, rename, sha256_of_file, write
from dit_toolkit.progress import warn

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")


def save(
    folder: Path,
    step: int,
    files: Mapping[str, Iterable[bytes | memoryview]],
    *,
    size: int,
    keep: int,
    keep_every: int | None = None,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Save a checkpoint of some files, each given as its bytes in parts; one process does it. Returns its folder.

    Args:
        size: bytes of all files together.
        keep: newest checkpoints to keep; older ones are removed, never below two.
        keep_every: checkpoints of steps that are multiples of it are kept, too.
        info: what else the manifest says.

    Raises:
        StorageError: the disk is full, or cannot be written; earlier checkpoints are as they were.
    """
    nonce = uuid.uuid4().hex[:8]
    temporary, final = folder / f".tmp-{step:08d}-{nonce}", folder / f"step-{step:08d}"
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            fsync(folder.parent)
        _clean(folder)
        _refuse_full(folder, step, size)
        temporary.mkdir()
        entries = {name: write(temporary / name, parts) for name, parts in files.items()}
        manifest = {"format": FORMAT, "step": step, **(info or {}), "files": entries}
        write(temporary / "manifest.json", [json.dumps(manifest, indent=1).encode()])
        fsync(temporary)
        for path in checkpoints(folder, first=step):  # Damaged, or they would have been resumed from.
            rename(path, folder / f".damaged-{path.name}-{nonce}")
        rename(temporary, final)
        fsync(folder)
        _prune(folder, keep, keep_every, nonce)
    except OSError as error:
        raise StorageError(f"{folder}: cannot write the checkpoint of step {step}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that holds, passing over damaged ones with a warning; None where there is none.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    damaged: list[Path] = []
    for path in reversed(checkpoints(folder)):
        faults = verify(path)
        if not faults:
            if damaged:
                warn(f"going on from {path.name} instead")
            return path
        warn(f"checkpoint {path} is damaged: {'; '.join(faults)}")
        damaged.append(path)
    if damaged:
        raise CheckpointError(f"{folder}: every checkpoint is damaged; start over with --fresh")
    return None


def checkpoints(folder: Path, first: int = 0) -> list[Path]:
    """Complete-looking checkpoints, from a step on, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), p) for p in folder.iterdir() if (match := _NAME.fullmatch(p.name)) and p.is_dir()]
    return [path for step, path in sorted(found) if step >= first]


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; CheckpointError where it is missing or not ours."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no readable manifest.json: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: manifest.json is not of format {FORMAT}; made by another version?")
    files = manifest.get("files")
    if type(manifest.get("step")) is not int or not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise CheckpointError(f"{path}: manifest.json does not say which step and files it is about")
    return manifest


def verify(path: Path, only: str | None = None) -> list[str]:
    """Check size and SHA-256 of every file of a checkpoint (or of one); returns what is wrong."""
    try:
        manifest = read_manifest(path)
    except CheckpointError as error:
        return [str(error)]
    files = manifest["files"]
    faults = []
    if path.name.startswith("step-") and path.name != f"step-{manifest['step']:08d}":
        faults.append(f"its manifest is of step {manifest['step']}")
    for name, (size, digest) in files.items():
        file = path / name
        if only not in (None, name):
            continue
        if not file.is_file():
            faults.append(f"{name} is missing")
        elif file.stat().st_size != size:
            faults.append(f"{name} has {file.stat().st_size} bytes instead of {size}")
        elif sha256_of_file(file) != digest:
            faults.append(f"{name} has changed since it was written")
    if only is not None and only not in files:
        faults.append(f"{only} is not part of it")
    return faults


def _is_entry(value: Any) -> bool:
    """Whether it is [size, hash]."""
    return isinstance(value, list) and len(value) == 2 and type(value[0]) is int and isinstance(value[1], str)


def _refuse_full(folder: Path, step: int, size: int) -> None:
    """Raise StorageError where the disk has not room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StorageError(
            f"{folder}: the checkpoint of step {step} needs {size / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free; "
            "those before it are as they were. Make room and run the same command again"
        )


def _clean(folder: Path) -> None:
    """Remove what killed saves left."""
    for path in folder.iterdir():
        if path.name.startswith((".tmp-", ".del-")):
            remove(path)


def _prune(folder: Path, keep: int, keep_every: int | None, nonce: str) -> None:
    """Remove all but the newest checkpoints and those that are kept for ever; never below two."""
    for path in checkpoints(folder)[: -max(keep, 2)]:
        if keep_every and int(path.name.removeprefix("step-")) % keep_every == 0:
            continue
        gone = folder / f".del-{path.name}-{nonce}"
        rename(path, gone)
        remove(gone)
