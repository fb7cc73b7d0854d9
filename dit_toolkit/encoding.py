"""Writes the latents of a dataset: images are read, encoded and stored, on any number of processes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from attrs import field, frozen
from attrs.validators import ge

from dit_toolkit import distributed, stop
from dit_toolkit.components import Autoencoder, Codec, Dataset, PosteriorCodec, Split
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.latents.encode import encode_block
from dit_toolkit.latents.manifest import BLOCK, DType, Manifest, Skipped, SplitEntry
from dit_toolkit.latents.writer import Block, StoreWriter, complete
from dit_toolkit.progress import INTERVAL, Progress, log, progress, warn
from dit_toolkit.recipe.structure import unstructure

PATIENCE = 0.2
"""Seconds between two looks at the blocks that other processes are writing."""


@frozen(kw_only=True)
class Options:
    """How a dataset is encoded."""

    splits: Sequence[Literal["train", "val"]] = ("train", "val")
    batch_size: int = field(default=32, validator=ge(1))
    """Images that go through the autoencoder together."""
    dtype: DType = "float16"
    flip: bool = False
    """Store the encoded mirrored image beside the image."""
    sample: bool = False
    """Store one latent drawn from the posterior, in half the space, instead of mean and standard deviation."""
    max_skipped: int = field(default=100, validator=ge(0))
    """Images that may be left out because they cannot be read."""
    log_every: float = INTERVAL
    """Seconds between two lines of progress."""
    block: int = field(default=BLOCK, validator=ge(1))
    """Rows that one process takes at a time, and that are lost when it is killed."""


def encode(
    dataset: Dataset, autoencoder: Autoencoder, out: Path, options: Options, *, deadline: float | None = None
) -> None:
    """Write the latent store `out` of a dataset of images with all processes, going on from what is there.

    The result is a function of data, autoencoder and options, whatever the number of processes and however often the
    work was interrupted. A file `stop` in `OUT.partial` stops it, as does the time `deadline` of `time.monotonic()`.

    Raises:
        DataError: data or autoencoder are not there, too many images cannot be read, or `out` is something else.
        StorageError: the disk is full.
        Interrupted: stopped by a signal, the time or the file; the same command goes on.
    """
    if dataset.latents:
        raise DataError(f"dataset.kind: {dataset.kind!r} holds latents already; give the images with --images DIR")
    dataset.check()
    splits: dict[str, Split] = {name: dataset.open(name) for name in options.splits}
    codec = autoencoder.load(distributed.device())
    plan = _plan(dataset, autoencoder, codec, splits, options)
    if complete(out, plan):
        log(f"{out}: is complete already")
        return
    distributed.initialise()
    main = distributed.rank() == 0
    store = StoreWriter(out, plan, {name: split.labels for name, split in splits.items()})
    blocks, rows = store.blocks(), sum(map(len, splits.values()))
    distributed.barrier()
    with (
        stop.listening(deadline),
        store.alone() if main else nullcontext(),
        progress("encode", rows, done=_sealed(blocks), interval=options.log_every) as bar,
    ):
        stop.watch(store.folder, clear=main)
        distributed.barrier()
        watch = _Watch(store, blocks, bar, options.max_skipped)
        while unfinished := [block for block in blocks if not block.sealed]:
            for block in unfinished:
                with block.claim() as mine:
                    if mine:
                        encode_block(block, splits[block.split], codec, watch.after)
                watch.look()
            if not main:
                break  # The first process stays to finish, and takes over the blocks of one that died.
            time.sleep(PATIENCE)
        final = store.finish() if main else plan
    skipped = sum(len(entry.skipped) for entry in final.splits.values())
    log(f"{out}: done" + (f"; {skipped} images were left out, its manifest.json says why" if skipped else ""))


def _plan(
    dataset: Dataset, autoencoder: Autoencoder, codec: Codec, splits: Mapping[str, Split], options: Options
) -> Manifest:
    """Everything about the store but its contents."""
    names = list(dataset.class_names)
    for name, split in splits.items():
        if split.labels.min() < 0 or split.labels.max() >= len(names):
            raise DataError(
                f"dataset: labels of {name} go from {split.labels.min()} to {split.labels.max()}, "
                f"but there are classes 0 to {len(names) - 1}"
            )
    posterior = codec if isinstance(codec, PosteriorCodec) and not options.sample else None
    return Manifest(
        source=unstructure(dataset),
        autoencoder=unstructure(autoencoder),
        fingerprint=autoencoder.fingerprint(),
        image=dataset.shape,
        latent=autoencoder.latent_shape(dataset.shape),
        content="moments" if posterior else "sample",
        flip=options.flip,
        dtype=options.dtype,
        batch_size=options.batch_size,
        block=options.block,
        class_names=names,
        splits={name: SplitEntry.of(name, split.labels) for name, split in splits.items()},
        shift=posterior.shift.flatten().tolist() if posterior else [0.0],
        scale=posterior.scale.flatten().tolist() if posterior else [1.0],
    )


def _sealed(blocks: Sequence[Block]) -> int:
    """Rows in finished blocks."""
    return sum(len(block.rows) for block in blocks if block.sealed)


class _Watch:
    """Looks after a process that encodes: progress, images left out, the wish to stop."""

    def __init__(self, store: StoreWriter, blocks: Sequence[Block], bar: Progress, max_skipped: int) -> None:
        self.store, self.blocks, self.bar, self.max_skipped = store, blocks, bar, max_skipped
        self.shown = _sealed(blocks)

    def after(self, rows: int, skipped: list[Skipped]) -> None:
        """Count a batch; DataError where too many images were left out, Interrupted where a signal asks to stop."""
        self.shown += rows
        self.bar.advance(rows)
        for skip in skipped:
            warn(f"left out: {skip.reason}")
        count = len(skipped) and self.store.count_skipped()
        if count > self.max_skipped:
            raise DataError(
                f"{count} images cannot be read, more than the {self.max_skipped} that --max-skipped allows; the last: "
                f"{skipped[-1].reason}"
            )
        self._obey()

    def look(self) -> None:
        """Show what other processes have done."""
        if (rows := _sealed(self.blocks)) > self.shown:
            self.bar.advance(rows - self.shown)
            self.shown = rows
        self._obey()

    @staticmethod
    def _obey() -> None:
        if name := stop.requested():
            raise Interrupted(f"stopped by {name}; the same command goes on from the last finished block")
