"""`prepare imagenet`: from the official archives, or a tree that is there, to a folder that trains."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from dit_toolkit import stop
from dit_toolkit.errors import DataError
from dit_toolkit.files import some, write_atomically
from dit_toolkit.imagenet import archives
from dit_toolkit.imagenet.devkit import Devkit, read_devkit
from dit_toolkit.imagenet.extract import extract_train, extract_val
from dit_toolkit.progress import log

CLASSES = "classes.json"
META = "meta.bin"
STATE = "state"
"""What is known of a command that is not finished."""


def prepare(folder: Path, out: Path) -> None:
    """Make `out` with train/CLASS, val/CLASS, classes.json and torchvision's meta.bin of the archives in `folder`.

    Everything is written in `out`.partial, which gets its name when it is complete; a killed command goes on there.

    Raises:
        DataError: an archive is missing, damaged or not the published one, or `out` is something else.
        StorageError: the disk is full.
        Interrupted: stopped by a signal.
    """
    if _complete(out):
        return
    published = archives.PUBLISHED
    paths = {part: archives.find(folder, archive) for part, archive in published.items()}
    partial = out.with_name(f"{out.name}.partial")
    (partial / STATE).mkdir(parents=True, exist_ok=True)
    with stop.listening():
        _verify(paths, published, partial / STATE / "verified.json")
        kit = read_devkit(paths["devkit"])
        extract_train(paths["train"], partial / "train", kit.classes)
        extract_val(paths["val"], partial / "val", kit.val)
    _write_kit(kit, partial)
    _finish(partial, out)


def adopt(tree: Path, out: Path, devkit: Path | None = None) -> None:
    """Make `out` of links to a tree train/CLASS and val/CLASS, or val/*.JPEG with the kit's archive.

    Raises:
        DataError: the tree is not of that layout, its classes are not those of the kit, or `out` is something else.
    """
    if _complete(out):
        return
    kit = read_devkit(devkit) if devkit else None
    train, val = (tree.resolve() / part for part in ("train", "val"))
    classes, flat = _folders(train), _images(val)
    if kit and set(classes) != set(kit.classes):
        odd = sorted(set(classes) ^ set(kit.classes))
        raise DataError(f"{train}: its classes are not those of the kit: {some(odd)}")
    if flat and kit is None:
        raise DataError(f"{val}: its images are not in folders of classes; give the kit's archive with --archives DIR")
    if not flat and set(_folders(val)) - set(classes):
        raise DataError(f"{val}: has classes that train lacks: {some(sorted(set(_folders(val)) - set(classes)))}")
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    _link(partial / "train", train)
    if flat and kit:
        if len(flat) != len(kit.val):
            raise DataError(f"{val}: holds {len(flat)} images, but the kit has classes for {len(kit.val)}")
        for name, wnid in zip(flat, kit.val, strict=True):
            _link(partial / "val" / wnid / name, val / name)
    else:
        _link(partial / "val", val)
    if kit:
        _write_kit(kit, partial)
    _finish(partial, out)


def _complete(out: Path) -> bool:
    """Whether `out` was made before; DataError where it is something else."""
    if out.is_dir() and all((out / part).is_dir() for part in ("train", "val")):
        log(f"{out}: is complete already")
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists already and is no prepared folder; give another name or remove it")
    return False


def _verify(paths: Mapping[str, Path], published: Mapping[str, archives.Archive], memory: Path) -> None:
    """Check the MD5 sums, once for each state of the files."""
    known = json.loads(memory.read_text()) if memory.exists() else {}
    for part, path in paths.items():
        state = [str(path.resolve()), published[part].md5, path.stat().st_mtime_ns]
        if known.get(part) != state:
            archives.verify(path, published[part])
            known[part] = state
            write_atomically(memory, json.dumps(known))


def _write_kit(kit: Devkit, folder: Path) -> None:
    """Write the names of the classes, and what torchvision's ImageNet reads."""
    import torch

    names = {wnid: ", ".join(words) for wnid, words in sorted(kit.classes.items())}
    (folder / CLASSES).write_text(json.dumps(names, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    torch.save((kit.classes, kit.val), folder / META)


def _finish(partial: Path, out: Path) -> None:
    """Flush everything to the disk, a million files at once, and give the folder its name."""
    shutil.rmtree(partial / STATE, ignore_errors=True)
    os.sync()
    partial.rename(out)
    os.sync()
    log(f"{out}: done")


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(target)


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a tree has train/CLASS and val/CLASS")
    return sorted(p.name for p in folder.iterdir() if p.is_dir())


def _images(folder: Path) -> list[str]:
    """Sorted names of the images that lie in the folder itself."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a tree has train/CLASS and val/CLASS")
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in (".jpeg", ".jpg") and p.is_file())
