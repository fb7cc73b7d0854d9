"""Caches of latents in the formats of other programs, small, made by tests."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import save_file

SHAPE = (4, 4, 6)
FOLDERS = ("n01", "n02", "n05")


def values(*sizes, seed=0):
    return np.random.default_rng(seed).normal(size=sizes).astype(np.float32)


def cerebras(root, counts=(3, 2, 4), splits=("train", "val"), seed=0):
    """SPLIT/CLASS/*.npz as Model Zoo's script writes them; gives the posteriors (rows, 2C, h, w) of each split."""
    made = {}
    for number, split in enumerate(splits):
        posteriors = values(sum(counts), 2 * SHAPE[0], *SHAPE[1:], seed=seed + number)
        posteriors[:, SHAPE[0] :] *= 3
        posteriors[0, SHAPE[0] :, 0] = -100  # beyond the clamp, at both ends
        posteriors[0, SHAPE[0] :, 1] = 21
        rows = iter(posteriors)
        for label, (folder, count) in enumerate(zip(FOLDERS, counts, strict=True)):
            (root / split / folder).mkdir(parents=True)
            for image in range(count):
                path = root / split / folder / f"{folder}_{image}.npz"
                names = {"src_path": f"/data/{path.name}", "dest_path": str(path)}
                np.savez(path, label=np.int32(label), vae_output=next(rows), **names)
        made[split] = posteriors
    (root / "logs").mkdir()
    return made


def fast_dit(root, count=12, classes=3):
    """Two folders of .npy files; gives the scaled latents (count, C, h, w) and labels (count,)."""
    latents, labels = values(count, *SHAPE), np.arange(count) * 7 % classes
    for name in ("imagenet256_features", "imagenet256_labels"):
        (root / name).mkdir(parents=True)
    for row in range(count):
        np.save(root / f"imagenet256_features/{row}.npy", latents[row : row + 1])
        np.save(root / f"imagenet256_labels/{row}.npy", labels[row : row + 1])
    return latents, labels


def lightningdit(root, counts=(5, 3), flip=True, stats=True):
    """Shards and statistics; gives latents (rows, versions, C, h, w), labels (rows,), mean and std (C,)."""
    root.mkdir(parents=True)
    versions = values(sum(counts), 2, *SHAPE)
    labels, start = np.arange(sum(counts)) % 3, 0
    for number, count in enumerate(counts):
        here = slice(start, start + count)
        tensors = {"latents": versions[here, 0], "labels": labels[here]}
        if flip:
            tensors["latents_flip"] = versions[here, 1]
        tensors = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
        save_file(tensors, root / f"latents_rank00_shard{number:03}.safetensors")
        start += count
    mean, std = values(SHAPE[0]), np.abs(values(SHAPE[0], seed=1)) + 1
    if stats:
        table = {"mean": mean, "std": std}
        torch.save({k: torch.from_numpy(v).view(1, -1, 1, 1) for k, v in table.items()}, root / "latents_stats.pt")
    return versions[:, : 1 + flip], labels, mean, std


def npz(path, moments=False, count=9):
    """One file; gives latents (count, C, h, w), or moments (count, 2C, h, w), and labels (count,)."""
    latents, labels = values(count, SHAPE[0] * (1 + moments), *SHAPE[1:]), np.arange(count) % 3
    if moments:
        latents = np.abs(latents)
    np.savez(path, labels=labels, **{"moments" if moments else "latents": latents})
    return latents, labels
