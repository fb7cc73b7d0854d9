"""Checkpoints that are either complete and verified, or not there.

All ranks write into `.tmp-<step>-<nonce>/`; every file is fsynced and hashed; rank 0 writes `manifest.json`, fsyncs
it and the folder, renames the folder to `step-<step>` and fsyncs its parent; only then are old checkpoints pruned.
A reader believes a folder whose manifest and hashes hold, and takes the newest of these.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dit_toolkit import distributed
from dit_toolkit.errors import CheckpointError, StorageError
from dit_toolkit.files import fsync
from dit_toolkit.progress import warn

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")


def save(folder: Path, step: int, write: Callable[[Path], None], *, keep: int, info: dict[str, Any]) -> Path:
    """Save a checkpoint with all ranks; `write(path)` fills a new folder. Returns `folder/step-<step>`."""
    temporary = folder / distributed.broadcast(f".tmp-{step:08d}-{uuid.uuid4().hex[:8]}")
    final = folder / f"step-{step:08d}"
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        distributed.barrier()
        write(temporary)
        distributed.barrier()
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        mine = files[distributed.rank() :: distributed.size()]
        entries = distributed.merge(distributed.gather({p.relative_to(temporary).as_posix(): _seal(p) for p in mine}))
        if distributed.rank() == 0:
            manifest = {"format": FORMAT, "step": step, "world_size": distributed.size(), **info, "files": entries}
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
            _seal(temporary / "manifest.json")
            for path in [p for p in temporary.rglob("*") if p.is_dir()] + [temporary]:
                fsync(path)
            if final.exists():  # Damaged, or it would have been resumed from.
                final.rename(folder / f".damaged-{final.name}-{uuid.uuid4().hex[:8]}")
            temporary.rename(final)
            fsync(folder)
            _prune(folder, keep)
    except OSError as error:
        raise StorageError(f"{folder}: cannot write the checkpoint of step {step}: {error}") from error
    distributed.barrier()
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


def checkpoints(folder: Path) -> list[Path]:
    """Complete-looking checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), p) for p in folder.iterdir() if (match := _NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; CheckpointError where it is missing or not ours."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no readable manifest.json: {error}") from error
    if (
        not isinstance(manifest, dict)
        or manifest.get("format") != FORMAT
        or not isinstance(manifest.get("files"), dict)
    ):
        raise CheckpointError(f"{path}: manifest.json is not of format {FORMAT}; made by another version?")
    return manifest


def verify(path: Path, only: str | None = None) -> list[str]:
    """Check size and SHA-256 of every file of a checkpoint (or of one); returns what is wrong."""
    try:
        files = read_manifest(path)["files"]
    except CheckpointError as error:
        return [str(error)]
    faults = []
    for name, (size, digest) in files.items():
        file = path / name
        if only not in (None, name):
            continue
        if not file.is_file():
            faults.append(f"{name} is missing")
        elif file.stat().st_size != size:
            faults.append(f"{name} has {file.stat().st_size} bytes instead of {size}")
        elif sha256(file) != digest:
            faults.append(f"{name} has changed since it was written")
    if only is not None and only not in files:
        faults.append(f"{only} is not part of it")
    return faults


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _prune(folder: Path, keep: int) -> None:
    """Remove all but the newest checkpoints, and what killed saves left; never below two."""
    for path in checkpoints(folder)[: -max(keep, 2)]:
        gone = path.rename(folder / f".del-{path.name}-{uuid.uuid4().hex[:8]}")
        shutil.rmtree(gone)
    for path in folder.iterdir():
        if path.name.startswith((".tmp-", ".del-")):
            shutil.rmtree(path, ignore_errors=True)


def _seal(path: Path) -> tuple[int, str]:
    """Flush a file to disk; its size and hash."""
    fsync(path)
    return path.stat().st_size, sha256(path)
