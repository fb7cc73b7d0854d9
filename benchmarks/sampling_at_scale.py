"""Draw many samples on one and two processes, kill two of them in the middle, and compare files and memory.

    python -m benchmarks.sampling_at_scale [--samples 5000 50000] [--folder DIR]

Of each number of samples three files are drawn by `dit-toolkit sample`: by one process, by two, and by two that are
killed by SIGKILL when 40 % of the samples are there, after which one process goes on, is killed at 70 %, and two end
it. All three must have the same SHA-256, no sample that was kept may be drawn again, and the peak memory of a process
must not grow with the number of samples. Prints a table and JSON; ends with code 1 where one of that does not hold.
"""

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dit_toolkit import load_recipe, train

RECIPE = """
[dataset]
kind = "synthetic"
latents = false
image_size = 32
channels = 3
num_classes = 10
num_images = 100
[model]
hidden_size = 32
depth = 2
num_heads = 2
num_classes = 10
[model.patchifier]
kind = "conv"
patch_size = 8
[objective]
kind = "flow-matching"
[train]
max_steps = 30
global_batch_size = 32
lr = 1e-3
[train.backend]
kind = "single"
[sample]
batch_size = 250
cfg_scale = 1.5
[sample.sampler]
kind = "euler"
num_steps = 4
"""
"""A model so small that 50,000 samples take a minute, trained just enough for images to differ."""
GROWTH = 64.0
"""MB by which the peak may grow: noise of the allocator. The files grow by 138 MB from 5,000 to 50,000 samples."""


class Bench:
    """Draws from one run into one folder."""

    def __init__(self, folder: Path) -> None:
        (folder / "tiny.toml").write_text(RECIPE)
        self.folder, self.run = folder, train(load_recipe(folder / "tiny.toml"), out=folder / "run")

    def draw(self, name: str, count: int, procs: int, until: Callable[[], bool] | None = None) -> dict[str, Any]:
        """Draw until the end, or until a condition holds, and then kill all processes."""
        words = ["sample", self.run, "--out", self.folder / f"{name}.npz", "--num-samples", count, "--procs", procs]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        began, killed = time.monotonic(), False
        with (self.folder / "log").open("w") as log:
            command = [sys.executable, "-m", "dit_toolkit", *map(str, words)]
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
            pid = status = 0
            while not pid:
                if until and not killed and until():
                    process.send_signal(signal.SIGKILL)  # Those that it started end with it.
                    killed = True
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        expected = -signal.SIGKILL if until else 0
        if process.returncode != expected:
            raise SystemExit(f"{name}: ended with {process.returncode}\n{(self.folder / 'log').read_text()}")
        return {"seconds": round(time.monotonic() - began, 1), "peak_mb": round(usage.ru_maxrss / 1e3, 1)}

    def kept(self, name: str) -> dict[Path, int]:
        """Parts that are there, and when each was written."""
        parts = (self.folder / f"{name}.npz.partial").glob("*-*-*.npy")
        return {path: path.stat().st_mtime_ns for path in parts}

    def finish(self, name: str) -> str:
        """SHA-256 of a file, which is removed with all that belongs to it."""
        path, digest = self.folder / f"{name}.npz", hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        path.unlink()
        path.with_suffix(".json").unlink()
        return digest.hexdigest()

    def interrupted(self, count: int) -> tuple[dict[str, Any], str, list[str]]:
        """Draw in three attempts, of which two are killed; what was redone is a fault."""
        name, batches, faults = f"killed-{count}", -(-count // 250), []
        rows, before = [], {}
        for procs, share in ((2, 0.4), (1, 0.7), (2, None)):
            until = (lambda share=share: len(self.kept(name)) >= share * batches) if share else None
            rows.append(self.draw(name, count, procs, until))
            if share:
                time.sleep(1)
                after = self.kept(name)
                faults += [f"{path.name} was drawn again" for path in before if after.get(path) != before[path]]
                before = after
        total = {"seconds": round(sum(row["seconds"] for row in rows), 1), "peak_mb": max(r["peak_mb"] for r in rows)}
        return total, self.finish(name), faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[5_000, 50_000], metavar="N")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    options = parser.parse_args()
    faults: list[str] = []
    found: list[dict[str, Any]] = []
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread a process; torch {torch.__version__}")
    with tempfile.TemporaryDirectory(prefix="sampling-", dir=options.folder) as folder:
        bench = Bench(Path(folder))
        for count in options.samples:
            rows = [(f"{n} process{'es' * (n > 1)}", bench.draw(f"by-{n}", count, n), f"by-{n}") for n in (1, 2)]
            results = [(how, row, bench.finish(name)) for how, row, name in rows]
            row, digest, again = bench.interrupted(count)
            results.append(("killed twice, on 2, 1, 2", row, digest))
            faults += again
            for how, row, digest in results:
                print(
                    f"{count:7,} {how:26} {row['seconds']:7.1f} s {row['peak_mb']:8.1f} MB  {digest[:16]}", flush=True
                )
                found.append({"samples": count, "how": how, **row, "sha256": digest})
            if len({digest for _, _, digest in results}) > 1:
                faults.append(f"{count} samples: the files differ")
    for how in dict.fromkeys(row["how"] for row in found):
        peaks = [row["peak_mb"] for row in found if row["how"] == how]
        if max(peaks) - peaks[0] > GROWTH:
            faults.append(f"{how}: peak memory grew from {peaks[0]} to {max(peaks)} MB")
    print(json.dumps({"faults": faults, "rows": found}, indent=1))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
