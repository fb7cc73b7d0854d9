"""How fast latents come out of a store, beside other ways to keep them; prints a table.

    python benchmarks/latents.py [--images 50000] [--folder DIR]

Everything is read once before it is timed, so that this is about memory and code and not about the disk.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader, Dataset

from dit_toolkit.latents.caches.cache import Facts
from dit_toolkit.latents.caches.cerebras import Cerebras
from dit_toolkit.latents.manifest import NAME, Manifest, SplitEntry, read_manifest
from dit_toolkit.latents.reader import LatentSplit
from dit_toolkit.latents.writer import StoreWriter
from dit_toolkit.random import Generator

SHAPE = (4, 32, 32)
BATCH = 256
SECONDS = 3.0


def write(folder: Path, count: int, content: str) -> LatentSplit:
    """A store of random float16 latents."""
    labels = np.arange(count) % 1000
    entry = SplitEntry.of("train", labels)
    plan = Manifest(
        source={"kind": "synthetic"}, autoencoder={"kind": "kl"}, image=(3, 256, 256), latent=SHAPE,
        content="moments" if content == "moments" else "sample", flip=False, dtype="float16", batch_size=BATCH,
        scale=[0.18215] if content == "moments" else [1.0], class_names=[str(n) for n in range(1000)],
        splits={"train": entry},
    )  # fmt: skip
    store, rng = StoreWriter(folder, plan, {"train": labels}), np.random.default_rng(0)
    for block in store.blocks():
        with block.claim():
            block.append(rng.random((len(block.rows), 1, plan.parts, *SHAPE), np.float32).astype(np.float16), [])
            block.seal()
    store.finish()
    return LatentSplit(folder, read_manifest(folder / NAME), "train")


def cerebras(folder: Path, count: int) -> Cerebras:
    """One .npz file for each image."""
    (folder / "n0").mkdir(parents=True)
    posterior = np.random.default_rng(0).random((2 * SHAPE[0], *SHAPE[1:]), np.float32)
    for index in range(count):
        np.savez(folder / f"n0/{index}.npz", label=np.int32(0), vae_output=posterior, dest_path="x", src_path="y")
    return Cerebras(folder, Facts())


class Files(Dataset[tuple[torch.Tensor, int]]):
    """One .npy file for each image."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        folder.mkdir()
        latent = np.random.default_rng(0).random(SHAPE, np.float32).astype(np.float16)
        for index in range(count):
            np.save(folder / f"{index}.npy", latent)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.load(self.folder / f"{index}.npy")), index % 1000


def rate(step, count: int, batch: int = BATCH) -> float:
    """Latents per second of `step(indices)` over shuffled batches."""
    order = np.random.default_rng(1).permutation(count)
    batches = [order[start : start + batch] for start in range(0, count - batch + 1, batch)]
    for indices in batches:
        step(indices)
    best = 0.0
    for _ in range(3):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS / 3:
            step(batches[done % len(batches)])
            done += 1
        best = max(best, done * batch / (time.perf_counter() - began))
    return best


def loader_rate(files: Files) -> float:
    best = 0.0
    for _ in range(2):
        began = time.perf_counter()
        done = sum(len(y) for _, y in DataLoader(files, batch_size=BATCH, shuffle=True))
        best = max(best, done / (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = options.images
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread; torch {torch.__version__}; {count} latents {SHAPE}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        sample, moments = write(root / "sample", count, "sample"), write(root / "moments", count, "moments")
        payload = count * 2 * int(np.prod(SHAPE))
        size = sum(path.stat().st_size for path in (root / "sample").iterdir())
        print(f"bytes on disk / bytes of latents: {size / payload:.4f}")
        raw_file = root / "raw.bin"
        raw_file.write_bytes(sample.path.read_bytes()[-payload:])
        raw = torch.from_numpy(np.memmap(raw_file, np.int16, "c", shape=(count, *SHAPE))).view(torch.float16)
        library = safe_open(sample.path, "pt").get_tensor("latents")
        files = Files(root / "files", min(count, 5_000))
        slow = loader_rate(files)
        theirs = cerebras(root / "theirs", min(count, 5_000))
        held = LatentSplit(root / "moments", read_manifest(root / "moments" / NAME), "train", "ram")
        rows = [
            ("store, float16 samples and labels", rate(lambda i: (sample.gather(i), sample.labels[i]), count)),
            ("store, batch: float32 samples and labels", rate(sample.batch, count)),
            ("store, batch of moments, mean", rate(moments.batch, count)),
            ("store, batch of moments, drawn", rate(lambda i: moments.batch(i, Generator(0, "train", i)), count)),
            ("store held in RAM, batch of moments, mean", rate(held.batch, count)),
            ("latent-files, one .npz for each, mean", rate(theirs.batch, len(theirs))),
            ("raw memory map, index_select", rate(lambda i: torch.index_select(raw, 0, torch.from_numpy(i)), count)),
            ("safe_open, index_select", rate(lambda i: torch.index_select(library, 0, torch.from_numpy(i)), count)),
            ("one .npy for each, Dataset + DataLoader: float16 samples and labels", slow),
        ]
        for name, found in rows:
            print(f"{name:70} {found:12,.0f} latents/s {found / slow:8.1f} x")


if __name__ == "__main__":
    main()
