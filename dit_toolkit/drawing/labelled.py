"""Images that are there already, with what is known of their classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from dit_toolkit.errors import DataError
from dit_toolkit.images import SUFFIXES, FolderImages, read_folder, read_npz
from dit_toolkit.imageset import Pixels
from dit_toolkit.recipe.text import show

SIDECAR: dict[str, tuple[Callable[[Any], bool], str]] = {
    "labels": (
        lambda x: isinstance(x, list) and all(type(label) is int and label >= 0 for label in x),
        "a list of class numbers",
    ),
    "class_names": (
        lambda x: isinstance(x, list) and all(isinstance(name, str) for name in x),
        "a list of the names of all classes",
    ),
    "step": (lambda x: type(x) is int, "a whole number"),
    "weights": (lambda x: isinstance(x, str), "a string"),
    "cfg_scale": (lambda x: type(x) in (int, float), "a number"),
    "sampler": (lambda x: isinstance(x, dict) and isinstance(x.get("kind"), str), "a table with a kind"),
}
"""What is read of the .json beside samples, where it is there: whether a value is sound, and what it should be."""


@frozen(kw_only=True)
class Labelled:
    """Images uint8 (N, H, W, 3), their classes (N,) and the names of all classes; one without a name where unknown."""

    images: np.ndarray
    labels: np.ndarray
    class_names: Sequence[str]


@frozen(kw_only=True)
class Samples:
    """Images uint8 (N, H, W, 3) that are not held in memory, their classes if known, and what else is told of them."""

    images: Pixels
    labels: np.ndarray | None
    facts: dict[str, Any]


def read_samples(path: Path) -> Samples:
    """Open an .npz or a folder of images, with the .json beside it where there is one.

    Raises:
        DataError: no image is there, one is damaged or of another size, or there are not as many labels as images.
    """
    images = FolderImages(path) if path.is_dir() else read_npz(path)
    facts = read_sidecar(path)
    labels = _labels(path, facts, len(images))
    names = facts.get("class_names") or []
    if names and labels is not None and labels.max() >= len(names):
        raise DataError(f"{path.with_suffix('.json')}: class_names must be a list that has a name for every label")
    return Samples(images=images, labels=labels, facts=facts)


def read_labelled(path: Path, most: int | None = None) -> Labelled:
    """Read an .npz with the .json beside it, a folder of images, or one of folders, each with the images of a class.

    Args:
        most: of a folder, how many images to read at most.

    Raises:
        DataError: no image is there, one is damaged or of another size, or there are not as many labels as images.
    """
    if path.is_dir():
        classes = [] if _has_images(path) else sorted(p for p in path.iterdir() if p.is_dir() and _has_images(p))
        return _read_classes(classes, most) if classes else _unlabelled(read_folder(path, most))
    images = read_npz(path)
    sidecar = read_sidecar(path)
    labels = _labels(path, sidecar, len(images))
    if labels is None:
        return _unlabelled(images)
    count = int(labels.max()) + 1
    names = sidecar.get("class_names") or [str(label) for label in range(count)]
    if len(names) < count:
        raise DataError(f"{path.with_suffix('.json')}: {len(names)} class_names, but a label {count - 1}")
    return Labelled(images=images, labels=labels, class_names=names)


def read_sidecar(samples: Path) -> dict[str, Any]:
    """Read the .json file beside samples, which may not be there; `labels` in it are a list of whole numbers from 0 up.

    Raises:
        DataError: it cannot be read, or something in it is not of the type that `sample` writes.
    """
    path = samples.with_suffix(".json")
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: must hold a table of what is known of {samples.name}; it holds {show(found)}")
    for name, (sound, what) in SIDECAR.items():
        if found.get(name) is not None and not sound(found[name]):
            raise DataError(f"{path}: `{name}` must be {what}; got {show(found[name])}")
    return found


def _labels(path: Path, sidecar: dict[str, Any], count: int) -> np.ndarray | None:
    """The class of each of so many images, (N,), where they are known."""
    if sidecar.get("labels") is None:
        return None
    labels = np.asarray(sidecar["labels"], dtype=np.int64)
    if len(labels) != count:
        raise DataError(f"{path}: {count} images, but {len(labels)} labels in {path.with_suffix('.json').name}")
    return labels


def _unlabelled(images: np.ndarray) -> Labelled:
    return Labelled(images=images, labels=np.zeros(len(images), np.int64), class_names=[""])


def _read_classes(folders: Sequence[Path], most: int | None) -> Labelled:
    parts = [read_folder(folder, most) for folder in folders]
    for folder, part in zip(folders, parts, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            here, first = (f"{shape[2]} x {shape[1]}" for shape in (part.shape, parts[0].shape))
            raise DataError(f"{folder}: {here} pixels, but {folders[0].name} has {first}; all must have one size")
    labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Labelled(images=np.concatenate(parts), labels=labels, class_names=[folder.name for folder in folders])


def _has_images(folder: Path) -> bool:
    return any(p.suffix.lower() in SUFFIXES for p in folder.iterdir())
