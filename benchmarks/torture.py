"""Kill a training again and again, and see that it ends as if nothing had happened.

    python -m benchmarks.torture --kills 200 [--seed 0] [--add FILE.jsonl]

Runs of a tiny model, in turn on one process and on two, are killed: by SIGKILL or SIGTERM, one rank or all of them, at
random moments and after chosen changes to the disk (each write, fsync, rename and removal that the saving of a
checkpoint makes). After each kill the newest checkpoint must verify and be no older than before; each run is started
again until it ends, and must then have the SHA-256 of weights, average and optimizer state, and the losses, of a run
that nobody disturbed. Processes are forked from one that has imported everything, so that a kill costs a second or two.
Each kill is a line on stderr. With --add the figures of a piece, such as --kills 50 --seed 3, are put to those of the
pieces before, and the sum of all is printed; a seed that is there already is refused.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

os.environ.update(OMP_NUM_THREADS="1", DS_ACCELERATOR="cpu", CUDA_VISIBLE_DEVICES="")

import deepspeed  # noqa: F401 - imported before any fork
import torch

from dit_toolkit import checkpoint, distributed, files, launch, load_recipe
from dit_toolkit.errors import DitToolkitError
from dit_toolkit.run import run

RECIPE = """
[dataset]
kind = "synthetic"
latents = false
image_size = 8
channels = 1
num_classes = 5
num_images = 20
[model]
hidden_size = 16
depth = 2
num_heads = 2
num_classes = 5
[model.patchifier]
kind = "conv"
patch_size = 4
[train]
max_steps = 16
global_batch_size = 4
micro_batch_size = 1
lr = 1e-3
ema_decay = 0.9
gradient_clipping = 1.0
log_every = 1
checkpoint_every = 2
checkpoint_keep_every = 8
[train.backend]
"""
LAYOUTS = {1: 'kind = "single"\n', 2: 'kind = "deepspeed"\nzero_stage = 2\n'}
"""Backend by number of processes."""
PATIENCE = 1.0
"""Seconds that the ranks beside a dead one get before they are killed, too."""
LONGEST = 120.0
"""Seconds after which an attempt hangs."""


class Kill(NamedTuple):
    """What ends one attempt."""

    signal: signal.Signals
    rank: int | None
    """The process that gets it, or all."""
    moment: float | None = None
    """Seconds after the start, or, without it, after a change to the disk:"""
    point: str = ""
    times: int = 1
    """How often it must have been made."""

    def __str__(self) -> str:
        whom = "all" if self.rank is None else f"rank {self.rank}"
        when = f"after {self.moment:.2f} s" if self.moment is not None else f"at {self.point}, number {self.times}"
        return f"{self.signal.name} to {whom} {when}"


def name_of(operation: str, path: Path) -> str:
    """Name of a change to the disk, the same for each checkpoint; empty where it is none to a checkpoint."""
    below = path.parts[path.parts.index("checkpoints") :] if "checkpoints" in path.parts else ()
    return " ".join([operation, *(part.split("-")[0] for part in below)]) if below else ""


class Torture:
    """Runs of one layout, and the undisturbed one that they must equal."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder, self.processes = folder, processes
        folder.mkdir()
        (folder / "tiny.toml").write_text(RECIPE + LAYOUTS[processes])
        self.recipe = load_recipe(folder / "tiny.toml")
        self.aimed: Counter[str] = Counter()
        self.runs, self.reached, self.out = 0, 0, folder / "whole"
        self.attempt(None)
        self.whole, self.out = self.result(), folder / "run"
        self.points: dict[str, int] = json.loads((folder / "points.json").read_text())
        self.points.pop("", None)
        for module in json.loads((folder / "modules.json").read_text()):  # Once, for all that are forked from now on.
            with suppress(Exception):
                import_module(module)
        began = time.monotonic()
        self.attempt(None)
        self.seconds, self.runs = time.monotonic() - began, 0

    def attempt(self, kill: Kill | None) -> bool:
        """Start the run, or go on, until a kill (True) or the end, which must equal that of the undisturbed one."""
        children: list[int] = []
        port, tie = launch._free_port(), launch._tie_to(os.getpid())
        for rank in range(self.processes):
            child = os.fork()
            if not child:
                if tie:
                    tie()
                self.live(rank, port, kill)
            children.append(child)
            os.setpgid(child, children[0])  # All get a signal at once.
        codes = wait(children, kill)
        if not any(codes):
            if self.out.name == "run":
                self.demand(self.result() == self.whole, "the end is not that of the undisturbed run")
                shutil.rmtree(self.out)
                self.runs, self.reached = self.runs + 1, 0
            return False
        self.demand(kill is not None and any(code in (-kill.signal, 3) for code in codes), f"ended with {codes}")
        found = checkpoint.newest(self.out / "checkpoints")
        step = checkpoint.read_manifest(found)["step"] if found else 0
        self.demand(step >= self.reached, f"fell back from step {self.reached} to {step}")
        self.demand("is damaged" not in (self.folder / "log").read_text(), "a checkpoint was damaged")
        self.reached = step
        return True

    def result(self) -> object:
        """What must be equal: hashes of the checkpoints that are kept for ever, and the numbers of every step."""
        hashes = {}
        for path in checkpoint.checkpoints(self.out / "checkpoints"):
            self.demand(checkpoint.verify(path) == [], f"{path} is damaged")
            manifest = checkpoint.read_manifest(path)
            if manifest["step"] % self.recipe.train.checkpoint_keep_every == 0:
                hashes[path.name] = {name: file for name, file in manifest["files"].items() if name[-1] == "s"}
        lines = [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]
        return hashes, [(line["step"], line["loss"], line["grad_norm"]) for line in lines]

    def live(self, rank: int, port: int, kill: Kill | None) -> NoReturn:
        """Be one process of a run."""
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        warnings.simplefilter("ignore")
        if self.processes > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(self.processes))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        seen: Counter[str] = Counter()

        def changed(operation: str, path: Path, new: Path | None = None) -> None:  # noqa: ARG001
            name = name_of(operation, path)
            seen[name] += 1
            if kill is not None and name == kill.point != "" and seen[name] == kill.times:
                (os.kill if kill.rank == 0 else os.killpg)(os.getpid(), kill.signal)

        files.changed = changed
        code = 1
        try:
            run(self.recipe, name="run", out=self.out, stages=["train"])
            distributed.barrier()
            if rank == 0 and kill is None:
                (self.folder / "points.json").write_text(json.dumps(seen))
                (self.folder / "modules.json").write_text(json.dumps(list(sys.modules)))
            code = 0
        except DitToolkitError as error:
            print("error:", error)
            code = error.exit_code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)

    def demand(self, condition: bool, fault: str) -> None:
        """End with what the run said unless a condition holds."""
        if not condition:
            print("\n".join((self.folder / "log").read_text().splitlines()[-40:]), file=sys.stderr)
            raise SystemExit(f"torture: {self.processes} processes, run {self.runs}: {fault}; see {self.folder}")


def wait(children: list[int], kill: Kill | None) -> list[int]:
    """Wait for all, and kill when it is time; exit codes, or minus the signal that ended a process."""
    codes: dict[int, int] = {}
    began, first = time.monotonic(), None
    pending = kill is not None and kill.moment is not None
    while len(codes) < len(children):
        for rank, child in enumerate(children):
            if rank not in codes and (found := os.waitpid(child, os.WNOHANG))[0]:
                codes[rank] = os.waitstatus_to_exitcode(found[1])
        now = time.monotonic()
        if pending and now - began > kill.moment:
            pending = False
            for rank, child in enumerate(children):
                if rank not in codes and kill.rank in (None, rank):
                    os.kill(child, kill.signal)
        if any(codes.values()):
            first = first or now
        if now - (first or began + LONGEST) > PATIENCE:  # As the launcher does.
            for rank in range(len(children)):
                if rank not in codes:
                    os.kill(children[rank], signal.SIGKILL)
        time.sleep(0.005)
    return [codes[rank] for rank in range(len(children))]


def choose(torture: Torture, dice: random.Random) -> Kill:
    """The next kill: a change to the disk that has been aimed at least often, or, each third time, a random moment."""
    number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
    if not dice.randrange(3):
        return Kill(number, dice.choice([None, *range(torture.processes)]), dice.uniform(0, torture.seconds))
    fewest = min(torture.aimed[point] for point in torture.points)
    point = dice.choice([point for point in sorted(torture.points) if torture.aimed[point] == fewest])
    torture.aimed[point] += 1
    return Kill(number, dice.choice([None, 0]), point=point, times=dice.randint(1, max(1, torture.points[point] // 4)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, nargs="+", choices=LAYOUTS, default=list(LAYOUTS), metavar="1|2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", type=Path, metavar="FILE", help="pieces of before, a line each, to put this one to")
    options = parser.parse_args()
    pieces = read(options.add)
    if options.seed in [piece["seed"] for piece in pieces]:
        raise SystemExit(f"{options.add}: has the kills of seed {options.seed} already; take another --seed")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dice, began = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        tortures = [Torture(Path(name) / f"{processes}-processes", processes) for processes in options.processes]
        kills: list[tuple[Torture, Kill]] = []
        while len(kills) < options.kills:
            torture = tortures[len(kills) % len(tortures)]
            kill = choose(torture, dice)
            if torture.attempt(kill):
                kills.append((torture, kill))
                print(f"{len(kills)} of {options.kills}: {torture.processes} process(es), {kill}", file=sys.stderr)
        for torture in tortures:
            while torture.out.exists():
                torture.attempt(None)
        piece = {
            "seed": options.seed,
            "kills": len(kills),
            "by_signal": Counter(kill.signal.name for _, kill in kills),
            "by_processes": Counter(str(torture.processes) for torture, _ in kills),
            "of_all_processes": sum(kill.rank is None for _, kill in kills),
            "at_random_moments": sum(not kill.point for _, kill in kills),
            "points": sorted(f"{torture.processes}: {point}" for torture in tortures for point in torture.points),
            "points_met": sorted({f"{torture.processes}: {kill.point}" for torture, kill in kills if kill.point}),
            "runs_ended_bit_identical": sum(torture.runs for torture in tortures),
            "data_lost": 0,
            "seconds": round(time.monotonic() - began),
        }
    if options.add:
        with options.add.open("a") as file:
            file.write(json.dumps(piece) + "\n")
    found = total([*pieces, piece])
    print(json.dumps(found, indent=1))
    print(summary(found), file=sys.stderr)


def read(path: Path | None) -> list[dict]:
    """The pieces in a file; none where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def total(pieces: list[dict]) -> dict:
    """The figures of all pieces together, points counted once."""
    found = {}
    for key, first in pieces[0].items():
        values = [piece[key] for piece in pieces]
        if key == "seed":
            found["seeds"] = values
        elif isinstance(first, dict):
            found[key] = dict(sum(map(Counter, values), Counter()))
        elif isinstance(first, list):
            found[key] = len(set().union(*values))
        else:
            found[key] = sum(values)
    return found


def summary(found: dict) -> str:
    """In one line: kills by kind, the runs they were done to, and what was lost."""
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(found["by_signal"].items()))
    return (
        f"{found['kills']} kills ({kinds}; {found['of_all_processes']} of all processes, {found['at_random_moments']} "
        f"at random moments, the others at {found['points_met']} of {found['points']} points); "
        f"{found['runs_ended_bit_identical']} runs ended bit-identical; {found['data_lost']} lost data"
    )


if __name__ == "__main__":
    main()
