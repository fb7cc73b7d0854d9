"""Seconds and memory of the metrics, with their standard errors, on random features of low rank; prints a table.

    python benchmarks/metrics.py [--samples 50000] [--reference 10000] [--features 2048] [--threads 2]

There are no images: the time of an extractor comes on top. Memory is the peak of the whole process, which holds the
features, 8 KB for each image. sfid takes what fid takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--samples", type=int, default=50_000)
parser.add_argument("--reference", type=int, default=10_000)
parser.add_argument("--features", type=int, default=2_048)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--metrics", nargs="+", help="kinds; all unless given")
options = parser.parse_args()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(options.threads)  # numpy reads them when it is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from attrs import frozen  # noqa: E402

from dit_toolkit.components import RealImages  # noqa: E402
from dit_toolkit.extractors.inception import Inception  # noqa: E402
from dit_toolkit.imageset import ImageSet, Stored  # noqa: E402
from dit_toolkit.metrics.coverage import Coverage  # noqa: E402
from dit_toolkit.metrics.density import Density  # noqa: E402
from dit_toolkit.metrics.fid import FID  # noqa: E402
from dit_toolkit.metrics.inception_score import InceptionScore  # noqa: E402
from dit_toolkit.metrics.kid import KID  # noqa: E402
from dit_toolkit.metrics.precision import Precision  # noqa: E402
from dit_toolkit.metrics.recall import Recall  # noqa: E402

RANK = 64
KINDS = {kind.kind: kind for kind in (FID, InceptionScore, KID, Precision, Recall, Density, Coverage)}


@frozen
class Drawn(Inception):
    """Sees nothing: what it would have seen is stored."""

    def fingerprint(self) -> str:
        return "drawn"


def draw(count: int, size: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Features (count, size) float32 >= 0: few directions, some noise, and what is negative cut off."""
    rng, mixing = np.random.default_rng(seed), np.random.default_rng(99).standard_normal((RANK, size), np.float32)
    values = np.empty((count, size), np.float32)
    for start in range(0, count, 2_000):
        block = values[start : start + 2_000]
        block[:] = scale * rng.standard_normal((len(block), RANK), np.float32) @ mixing / 20
        block += 0.1 * rng.standard_normal(block.shape, np.float32) + 0.4
        np.maximum(block, 0, out=block)
    return values


def make(name: str, count: int, seed: int, scale: float, outputs: dict[str, int]) -> ImageSet:
    stored = {
        (Inception.kind, output): Stored(
            "drawn", values=draw(count, size, seed, scale) * (8 if output == "logits" else 1)
        )
        for output, size in outputs.items()
    }
    return ImageSet(None, stored=stored, name=name)


def peak() -> float:
    """Most memory of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def timed(name: str, work) -> object:
    began = time.perf_counter()
    found = work()
    print(f"{name:28} {time.perf_counter() - began:8.1f} s {peak():8.2f} GB   {found}", flush=True)
    return found


def main() -> None:
    torch.set_num_threads(options.threads)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads; numpy {np.__version__}, "
        f"torch {torch.__version__}\n{options.samples} samples, {options.reference} reference images, "
        f"{options.features} features"
    )
    kinds = [KINDS[kind] for kind in options.metrics or KINDS]
    outputs = {"features": options.features}
    scores = {"logits": 1_008} if InceptionScore in kinds else {}
    extractor = Drawn()
    samples = make("samples", options.samples, 0, 1.05, {**outputs, **scores})
    real = RealImages(make("reference", options.reference, 1, 1.0, outputs))
    print(f"{'':28} {'':8}   {peak():8.2f} GB   held before")
    began = time.perf_counter()
    if FID in kinds:
        for images in (samples, real.reference):
            timed(f"statistics of {images.name}", lambda images=images: images.moments(extractor).count)
    for kind in kinds:
        metric = kind(extractor=extractor)
        timed(metric.name, lambda metric=metric: f"{metric.compute(samples, real):.6g}")
        timed("  its error", lambda metric=metric: f"{metric.error(samples, real):.3g}")
    print(f"{'all':28} {time.perf_counter() - began:8.1f} s {peak():8.2f} GB")


if __name__ == "__main__":
    main()
