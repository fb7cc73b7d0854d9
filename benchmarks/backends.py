"""What DeepSpeed costs on one process: ZeRO 0 to 3 against backend `single`, time of a step and peak memory.

    python -m benchmarks.backends recipes/fashion-long.toml --rounds 10 --steps 5 [--set train.precision='"fp32"']

All engines live in one process and train the recipe's network on one batch of noise, in turns of some steps, so that
a machine that is busy now and then slows all alike; ratios are those of the fastest turns, in wall time and in CPU time
of the process. A step is that of the training loop: forward, backward, clipping, optimizer, moving averages. After the
first turn all engines must have the same loss. Peak memory is that of a process for each backend, above what it had
before its model.
"""

import argparse
import json
import math
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.flops.machine import describe
from benchmarks.flops.memory import PROCESS, peak_memory, reset_peak
from dit_toolkit import distributed, load_recipe
from dit_toolkit.backends.deepspeed import DeepSpeed
from dit_toolkit.backends.single import Single
from dit_toolkit.build import build_model
from dit_toolkit.optimizers import build_optimizer
from dit_toolkit.random import Generator
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.training.ema import averages
from dit_toolkit.training.kernels import compile_blocks

BACKENDS = {"single": Single(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in range(4)}}


class Training:
    """A model in training with one backend."""

    def __init__(self, recipe, backend):
        self.device, self.settings, self.objective = distributed.device(), recipe.train, recipe.objective
        batch = self.settings.micro_batch_size or self.settings.global_batch_size
        torch.manual_seed(0)
        model = build_model(recipe).to(self.device)
        if self.settings.compile:
            compile_blocks(model, self.device)
        self.engine = backend.start(
            model,
            build_optimizer(model, self.settings.optimizer),
            precision=self.settings.precision,
            gradient_clipping=self.settings.gradient_clipping,
            micro_batch_size=batch,
            accumulation=1,
            device=self.device,
        )
        self.averages = averages(self.engine, self.settings).values()
        self.x = torch.randn(batch, *sizes(recipe).latent, device=self.device)  # (N, C, H, W)
        self.y = torch.arange(batch, device=self.device) % recipe.model.num_classes  # (N,)
        self.done = 0

    def step(self):
        """Make one step, the n-th with the times and noise of every engine's n-th; its loss."""
        generator = Generator(self.done, "train", range(len(self.x)), self.device)
        loss = self.objective.loss(self.engine, self.x, self.y, generator=generator).mean()
        self.engine.backward(loss)
        self.engine.step(self.settings.lr)
        for average in self.averages:
            average.update(self.engine)
        self.done += 1
        return float(loss)

    def turn(self, steps):
        """Wall and CPU seconds of a step, the mean of some, and the last loss."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            loss = self.step()
        return (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps, loss


def times(recipe, rounds, steps):
    """{backend: (wall, CPU) seconds of a step}, each the least of some turns after one to warm up."""
    trainings = {name: Training(recipe, backend) for name, backend in BACKENDS.items()}
    taken = {name: [] for name in BACKENDS}
    for number in range(rounds + 1):
        turns = {name: training.turn(steps) for name, training in trainings.items()}
        if not number:
            refuse_other_losses({name: loss for name, (_, _, loss) in turns.items()}, recipe.train.precision)
            continue
        for name, (wall, cpu, _) in turns.items():
            taken[name].append((wall, cpu))
        print(f"round {number} of {rounds}", file=sys.stderr)
    return {name: tuple(map(min, zip(*found, strict=True))) for name, found in taken.items()}


def refuse_other_losses(losses, precision):
    """End where backends do not train alike: what they took would mean nothing."""
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    if not all(math.isclose(loss, losses["single"], rel_tol=tolerance) for loss in losses.values()):
        raise SystemExit(f"the backends do not train alike: {losses}")


def memory(recipe, name):
    """Bytes that training takes at its peak, beyond those before the model."""
    kind = torch.device(distributed.device()).type
    before = 0 if kind == "cuda" else resident()
    reset_peak(kind)
    Training(recipe, BACKENDS[name]).turn(3)
    return peak_memory(kind) - before


def resident():
    """Bytes in memory now."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def memory_elsewhere(name):
    """The same of a fresh process, started with the words of this one."""
    command = [sys.executable, "-m", "benchmarks.backends", *sys.argv[1:], "--memory-of", name]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1])


def table(found):
    """As Markdown."""
    lines = ["| backend | ms a step | of single | CPU ms | of single | peak MiB | of single |", "|" + "---|" * 7]
    first = found["single"]
    for name, values in found.items():
        cells = [f"{value:,.1f} | {value / least:.3f}" for value, least in zip(values, first, strict=True)]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5, help="in a turn")
    parser.add_argument("--memory-of", choices=BACKENDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    distributed.initialise()
    recipe = load_recipe(options.recipe, set=options.set)
    if options.memory_of:
        print(memory(recipe, options.memory_of))
        return
    peaks = {name: memory_elsewhere(name) for name in BACKENDS}
    found = {
        name: (1e3 * wall, 1e3 * cpu, peaks[name] / 2**20)
        for name, (wall, cpu) in times(recipe, options.rounds, options.steps).items()
    }
    facts = describe(distributed.device())
    facts["versions"]["deepspeed"] = version("deepspeed")
    print(json.dumps({**facts, "precision": recipe.train.precision, "command": sys.argv[1:]}))
    print(table(found))


if __name__ == "__main__":
    main()
