"""From the images of a block of rows to their latents in the store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dit_toolkit import distributed
from dit_toolkit.components import Codec, PosteriorCodec, Split
from dit_toolkit.errors import DataError
from dit_toolkit.latents.manifest import Manifest, Skipped
from dit_toolkit.latents.writer import Block
from dit_toolkit.random import Generator


def encode_block(block: Block, split: Split, codec: Codec, after: Callable[[int, list[Skipped]], None]) -> None:
    """Encode and write a block, and seal it; the next images are read meanwhile.

    Args:
        block: the rows.
        split: their images.
        codec: the autoencoder, on the device of this process.
        after: called after each batch with its number of rows and what was left out of it; may raise to stop.

    Raises:
        DataError: a latent is not finite.
        StorageError: the disk is full.
    """
    size = block.store.plan.batch_size
    batches = [block.rows[start : start + size] for start in range(0, len(block.rows), size)]
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        coming = reader.submit(_read, split, batches[0])
        for number, rows in enumerate(batches):
            x, kept, skipped = coming.result()
            if number + 1 < len(batches):
                coming = reader.submit(_read, split, batches[number + 1])
            stored = np.zeros((len(rows), block.store.plan.row_bytes), np.uint8)
            if len(kept):
                stored[kept - rows.start] = _latents(x, kept, codec, block)
            block.append(stored, skipped)
            after(len(rows), skipped)
    block.seal()


def _read(split: Split, rows: range) -> tuple[Tensor, np.ndarray, list[Skipped]]:
    """Read x (n, C, H, W) of the rows that can be read, these rows (n,), and why the others cannot."""
    try:
        return split.batch(np.asarray(rows))[0], np.asarray(rows), []
    except DataError:  # One or more of them: find out which.
        pass
    images, kept, skipped = [], [], []
    for row in rows:
        try:
            images.append(split.batch(np.asarray([row]))[0])
            kept.append(row)
        except DataError as error:
            skipped.append(Skipped(row=row, reason=str(error)))
    return torch.cat(images) if images else torch.empty(0), np.asarray(kept), skipped


def _latents(x: Tensor, rows: np.ndarray, codec: Codec, block: Block) -> np.ndarray:
    """Encode x (n, C, H, W) of some rows to the bytes of their latents, uint8 (n, row_bytes)."""
    plan, device = block.store.plan, distributed.device()
    x = x.to(device)
    versions = [_parts(x, codec, plan, Generator(0, f"encode {block.split}", rows, device))]
    if plan.flip:
        versions.append(_parts(x.flip(-1), codec, plan, Generator(0, f"encode {block.split} mirrored", rows, device)))
    latents = torch.stack(versions, 1).to(getattr(torch, plan.dtype)).cpu()  # (n, versions, parts, C, h, w)
    broken = rows[~latents.isfinite().flatten(1).all(1).numpy()]
    if len(broken):
        raise DataError(
            f"autoencoder: the latent of image {broken[0]} of {block.split} is not finite in {plan.dtype}; "
            'try --dtype float32, or precision = "fp32"'
        )
    return latents.contiguous().flatten(1).view(torch.uint8).numpy()


def _parts(x: Tensor, codec: Codec, plan: Manifest, generator: Generator) -> Tensor:
    """Mean and standard deviation, or one latent, (n, parts, C, h, w)."""
    if not isinstance(codec, PosteriorCodec):
        return codec.encode(x)[:, None]
    return torch.stack(codec.moments(x), 1) if plan.content == "moments" else codec.encode(x, generator)[:, None]
