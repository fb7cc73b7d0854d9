"""The development kit of ILSVRC 2012: which classes there are, and which class each validation image has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

from dit_toolkit.errors import DataError
from dit_toolkit.imagenet.archives import members, opened, read_member

META = "ILSVRC2012_devkit_t12/data/meta.mat"
GROUND_TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"


class Devkit(NamedTuple):
    """What torchvision keeps of the kit in `meta.bin`."""

    classes: dict[str, tuple[str, ...]]
    """Names of each class by its WordNet id, in the order of the kit."""
    val: list[str]
    """WordNet id of each validation image, in the order of the images' names."""


def read_devkit(path: Path) -> Devkit:
    """Read the kit from its archive; DataError where a part of it is missing or damaged."""
    parts = {}
    with opened(path) as tar:
        for member in members(tar, str(path)):
            if member.name in (META, GROUND_TRUTH):
                parts[member.name] = read_member(tar, member, str(path))
    for name in (META, GROUND_TRUTH):
        if name not in parts:
            raise DataError(f"{path}: holds no {name}")
    try:
        ids, classes = _read_meta(parts[META])
        return Devkit(classes, [ids[int(line)] for line in parts[GROUND_TRUTH].split()])
    except (ValueError, KeyError, IndexError, TypeError, NotImplementedError, OSError) as error:
        raise DataError(f"{path}: cannot be read as the kit of ILSVRC 2012 ({type(error).__name__}: {error})") from None


def _read_meta(data: bytes) -> tuple[dict[int, str], dict[str, tuple[str, ...]]]:
    """WordNet ids by the kit's own numbers, and names by WordNet id, of the synsets without children."""
    from scipy.io import loadmat

    file: Any = io.BytesIO(data)
    ids, classes = {}, {}
    for number, wnid, words, _gloss, children, *_ in loadmat(file, squeeze_me=True)["synsets"]:
        if children == 0:
            ids[int(number)] = str(wnid)
            classes[str(wnid)] = tuple(str(words).split(", "))
    return ids, classes
