"""Caches of latents that other programs made, as a latent store."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from attrs.validators import ge, gt, lt, optional

from dit_toolkit import stop
from dit_toolkit.autoencoders.kl import KL
from dit_toolkit.components import Shape
from dit_toolkit.datasets.names import read_names
from dit_toolkit.datasets.split import held_out
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.interop.diffusers.pipeline import vae_options
from dit_toolkit.latents.caches import Format
from dit_toolkit.latents.caches.cache import Cache, Facts
from dit_toolkit.latents.caches.opening import open_caches
from dit_toolkit.latents.manifest import DType, Manifest, SplitEntry
from dit_toolkit.latents.scaling import Scaling
from dit_toolkit.latents.writer import Block, StoreWriter, complete
from dit_toolkit.progress import log, progress
from dit_toolkit.recipe.structure import unstructure

ROWS = 256
"""Read at a time."""
AUTOENCODERS: dict[Format, str] = {"cerebras": "stabilityai/sd-vae-ft-mse", "fast-dit": "stabilityai/sd-vae-ft-ema"}
"""Those that the programs use unless they are told otherwise."""
DOWNSAMPLING: dict[Format, int] = {"lightningdit": 16}
"""8 elsewhere."""


@frozen(kw_only=True)
class Options:
    """What the files of a cache do not say."""

    autoencoder: str | None = None
    """Folder of the diffusers AutoencoderKL that made the latents, or its name on the hub."""
    image_size: tuple[int, int] | None = None
    """Pixels (height, width) of the images; the latents' times the downsampling unless given."""
    num_classes: int | None = field(default=None, validator=optional(ge(1)))
    classes: Path | None = None
    """A classes.json with names of classes by their folders."""
    scaling_factor: float | None = field(default=None, validator=optional(gt(0)))
    """By which a model's latents are multiplied, or have been."""
    flipped: Path | None = None
    """A second cache, of the mirrored images."""
    val_fraction: float = field(default=0.0, validator=[ge(0), lt(1)])
    """Share of each class that becomes the split val where there is none."""
    dtype: DType = "float16"


def import_latents(source: Path, out: Path, *, format: Format, options: Options) -> None:
    """Write the latents of a cache into the store `out`, going on from what is there.

    The store scales at reading what the cache holds unscaled, and leaves alone what has been scaled already.

    Raises:
        DataError: files are missing or damaged, or do not fit each other, the options or the autoencoder.
        StorageError: the disk is full.
        Interrupted: stopped by a signal; the same command goes on.
    """
    codec = _Codec.read(options.autoencoder)
    facts = Facts(
        num_classes=options.num_classes,
        classes=read_names(options.classes) if options.classes else None,
        factor=options.scaling_factor,
        codec=codec.scaling if codec else None,
        flipped=options.flipped,
    )
    caches = open_caches(source, format, facts)
    if options.val_fraction and "val" not in caches:
        caches = _divide(source, caches["train"], options.val_fraction)
    plan = _plan(source, format, caches, codec, options)
    if complete(out, plan):
        log(f"{out}: is complete already")
        return
    store = StoreWriter(out, plan, {split: cache.labels for split, cache in caches.items()})
    blocks, rows = store.blocks(), sum(map(len, caches.values()))
    done = sum(len(block.rows) for block in blocks if block.sealed)
    with stop.listening(), store.alone(), progress("import", rows, done=done) as bar:
        for block in blocks:
            with block.claim() as mine:
                if mine:
                    _copy(block, caches[block.split], bar.advance)
        store.finish()
    log(f"{out}: {_describe(plan)}")


@frozen
class _Codec:
    """An autoencoder that is there."""

    options: KL
    scaling: Scaling
    fingerprint: str | None

    @classmethod
    def read(cls, path: str | None) -> _Codec | None:
        """Load a folder; None for what is no folder here."""
        if path is None or not Path(path).is_dir():
            return None
        options = KL(**vae_options(Path(path)))
        loaded = options.load()
        return cls(options, Scaling.of(loaded.shift, loaded.scale), options.fingerprint())


def _divide(source: Path, cache: Cache, fraction: float) -> dict[str, Cache]:
    """Hold a share of every class out."""
    mask, caches = held_out(cache.labels, fraction), {}
    for split, chosen in (("train", ~mask), ("val", mask)):
        if not chosen.any():
            raise DataError(f"{source}: no image is left for {split} where {fraction:g} of each class are held out")
        caches[split] = copy.copy(cache)
        caches[split].keep(np.flatnonzero(chosen))
    return caches


def _plan(
    source: Path, format: Format, caches: Mapping[str, Cache], codec: _Codec | None, options: Options
) -> Manifest:
    """Everything about the store but its contents."""
    cache = caches["train"]
    if codec and not cache.made_with.like(codec.scaling):
        raise DataError(
            f"{source}: its latents z are seen as {cache.made_with}, but {options.autoencoder} scales as "
            f"{codec.scaling}; another autoencoder made them, or another scaling factor is right"
        )
    image, autoencoder = _sizes(source, format, cache.latent, codec, options)
    return Manifest(
        source={"kind": format, "path": str(source)},
        autoencoder=autoencoder,
        fingerprint=codec.fingerprint if codec else None,
        image=image,
        latent=cache.latent,
        content="moments" if cache.moments else "sample",
        flip=cache.flip,
        dtype=options.dtype,
        batch_size=1,
        class_names=cache.class_names,
        splits={split: SplitEntry.of(split, opened.labels) for split, opened in caches.items()},
        shift=list(cache.scaling.shift),
        scale=list(cache.scaling.scale),
    )


def _sizes(
    source: Path, format: Format, latent: Shape, codec: _Codec | None, options: Options
) -> tuple[Shape, dict[str, Any]]:
    """Shape of the images, and the autoencoder as a recipe has it."""
    channels, height, width = latent
    downsampling = codec.options.downsampling if codec else DOWNSAMPLING.get(format, 8)
    rows, columns = options.image_size or (height * downsampling, width * downsampling)
    if not codec and rows % height == 0 and columns * height == rows * width:
        downsampling = rows // height
    if (rows, columns) != (height * downsampling, width * downsampling):
        raise DataError(f"{source}: latents of {height} x {width} cannot be those of images of {rows} x {columns}")
    if codec and codec.options.latent_channels != channels:
        raise DataError(
            f"{source}: latents have {channels} channels, those of {options.autoencoder} "
            f"{codec.options.latent_channels}"
        )
    path = options.autoencoder or AUTOENCODERS.get(format)
    if path is None:
        return (3, rows, columns), {"kind": "unknown"}
    made_by = codec.options if codec else KL(path=path, latent_channels=channels, downsampling=downsampling)
    return (3, rows, columns), unstructure(made_by)


def _copy(block: Block, cache: Cache, after: Callable[[int], None]) -> None:
    """Write the rows of a block, and seal it."""
    plan = block.store.plan
    for start in range(block.rows.start, block.rows.stop, ROWS):
        index = np.arange(start, min(start + ROWS, block.rows.stop))
        versions = [cache.gather(index, version) for version in range(plan.versions)]
        latents = torch.stack(versions, 1).to(getattr(torch, plan.dtype))  # (n, versions, parts, C, h, w)
        broken = index[~latents.isfinite().flatten(1).all(1).numpy()]
        if len(broken):
            raise DataError(
                f"{cache.name(int(cache.kept[broken[0]]))}: its latent is not finite in {plan.dtype}"
                + ("; try --dtype float32" if plan.dtype == "float16" else "")
            )
        block.append(latents.contiguous().flatten(1).view(torch.uint8).numpy(), [])
        after(len(index))
        if name := stop.requested():
            raise Interrupted(f"stopped by {name}; the same command goes on from the last finished block")
    block.seal()


def _describe(plan: Manifest) -> str:
    rows = ", ".join(f"{entry.rows:,} rows of {split}" for split, entry in plan.splits.items())
    latent, image = (" x ".join(map(str, sides)) for sides in (plan.latent, plan.image))
    seen = Scaling(tuple(plan.shift), tuple(plan.scale))
    return f"{rows}; latents z of {latent} for images of {image}, which a model sees as {seen}"
