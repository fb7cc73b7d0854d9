"""Formats by name, and the splits that lie in a place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from dit_toolkit.errors import DataError
from dit_toolkit.latents.caches import Format
from dit_toolkit.latents.caches.cache import Cache, Facts
from dit_toolkit.latents.caches.cerebras import Cerebras
from dit_toolkit.latents.caches.fast_dit import FastDiT
from dit_toolkit.latents.caches.lightningdit import LightningDiT
from dit_toolkit.latents.caches.npz import Npz

CACHES: dict[Format, Callable[[Path, Facts], Cache]] = {
    "cerebras": Cerebras,
    "fast-dit": FastDiT,
    "lightningdit": LightningDiT,
    "npz": Npz,
}


def places(path: Path, format: Format) -> dict[str, Path]:
    """Where the splits are: `train` and `val` in a folder, or the path itself, which is train then.

    Raises:
        DataError: there is nothing there.
    """
    ending = ".npz" if format == "npz" else ""
    found = {split: path / f"{split}{ending}" for split in ("train", "val")}
    if found["train"].exists():
        return {split: place for split, place in found.items() if place.exists()}
    if ending and not path.is_file():
        raise DataError(f"{path}: is no .npz file, and has none named train.npz")
    if not ending and not path.is_dir():
        raise DataError(f"{path}: there is no such folder")
    return {"train": path}


def open_caches(path: Path, format: Format, facts: Facts) -> dict[str, Cache]:
    """Open all splits of latents in a format; the one named train is augmented.

    Raises:
        DataError: files are missing or damaged, or the splits do not fit each other.
    """
    opened = {split: open_cache(path, format, split, facts) for split in places(path, format)}
    first = opened["train"]
    for split, cache in opened.items():
        for name in ("latent", "flip", "moments", "class_names", "made_with"):
            here, there = getattr(cache, name), getattr(first, name)
            if here != there:
                raise DataError(f"{path}: {name} of {split} is {str(here)[:80]}, of train {str(there)[:80]}")
    return opened


def open_cache(path: Path, format: Format, split: str, facts: Facts) -> Cache:
    """Open one split; DataError where it is not there or damaged."""
    if facts.classes and facts.num_classes not in (None, len(facts.classes)):
        raise DataError(f"{path}: there are names of {len(facts.classes)} classes, but {facts.num_classes} classes")
    flipped = facts.flipped
    if flipped and format != "cerebras":
        raise DataError(f"{flipped}: {format} has no folders of mirrored images; cerebras has")
    if flipped:
        flipped = places(flipped, format).get(split)
    return CACHES[format](places(path, format)[split], attrs.evolve(facts, flipped=flipped, augmented=split == "train"))
