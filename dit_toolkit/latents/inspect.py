"""What a latent store holds: counts, statistics, and a picture of images beside what their latents decode to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from dit_toolkit.components import Autoencoder
from dit_toolkit.errors import DataError, RecipeError
from dit_toolkit.grids.sheet import grid
from dit_toolkit.images import to_uint8
from dit_toolkit.latents.manifest import NAME, Manifest, read_manifest
from dit_toolkit.latents.reader import LatentSplit
from dit_toolkit.latents.source import open_images
from dit_toolkit.progress import warn
from dit_toolkit.random import Generator
from dit_toolkit.recipe.structure import structure

READ = 4096
"""Latents behind the statistics of a channel."""


def describe(folder: Path) -> dict[str, Any]:
    """Say what a store holds, as plain JSON.

    The statistics are those of at most 4096 latents of each split as a model sees them: scaled, drawn from their
    posterior. Their standard deviation should be about 1.
    """
    manifest = read_manifest(folder / NAME)
    splits = {}
    for name in manifest.splits:
        split = LatentSplit(folder, manifest, name)
        index = _spread(len(split), READ)
        x, _ = split.batch(index, Generator(0, "inspect", index))  # (N, C, h, w)
        counts = np.bincount(split.labels, minlength=len(manifest.class_names))
        splits[name] = {
            "latents": len(split),
            "left_out": len(manifest.splits[name].skipped),
            "per_class": {"least": int(counts.min()), "most": int(counts.max()), "empty": int((counts == 0).sum())},
            "channels": [
                {"mean": float(mean), "std": float(std)}
                for mean, std in zip(x.mean((0, 2, 3)), x.std((0, 2, 3)), strict=True)
            ],
        }
    return {
        "source": manifest.source,
        "autoencoder": manifest.autoencoder,
        "image": list(manifest.image),
        "latent": list(manifest.latent),
        "content": manifest.content,
        "flip": manifest.flip,
        "dtype": manifest.dtype,
        "classes": len(manifest.class_names),
        "splits": splits,
    }


def picture(folder: Path, count: int) -> Image.Image:
    """Draw `count` items of the first split, a row each: the image, where it is still there, and what is decoded.

    A store of mirrored images too has a third column.

    Raises:
        DataError: the autoencoder is not there.
    """
    manifest = read_manifest(folder / NAME)
    name: Any = next(iter(manifest.splits))
    split = LatentSplit(folder, manifest, name)
    index = _spread(len(split), count)
    codec = _component(manifest.autoencoder, Autoencoder).load()
    columns = [
        to_uint8(codec.decode(split.scale_of(split.gather(index, version)[:, 0])))
        for version in range(manifest.versions)
    ]
    if (images := _images(manifest, name, index)) is not None:
        columns.insert(0, images)
    pixels = np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])  # (N * columns, H, W, 3)
    names = [f"{split.kept[i]} {manifest.class_names[split.labels[i]]}"[:40] for i in index]
    return grid(pixels, np.repeat(np.arange(len(index)), len(columns)), names, nrow=len(columns))


def _images(manifest: Manifest, split: Literal["train", "val"], index: np.ndarray) -> np.ndarray | None:
    """Read the images of some latents, uint8 (N, H, W, 3); None, with a warning, where they are not there any more."""
    try:
        return to_uint8(open_images(manifest, split).batch(index)[0])
    except DataError as error:
        warn(f"the images cannot be shown: {error}")
        return None


def _component(table: dict[str, Any], base: type[Any]) -> Any:
    """Make the component that a manifest names."""
    try:
        return structure(table, base)
    except RecipeError as error:
        raise DataError(*error.lines) from None


def _spread(length: int, count: int) -> np.ndarray:
    """At most `count` indices, evenly spread."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).astype(np.int64))
