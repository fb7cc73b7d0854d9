"""How fast training goes, and how much of what the machine could do that is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import torch

from dit_toolkit import distributed
from dit_toolkit.flops import TRAINING, macs
from dit_toolkit.recipe.autoencoder import AnyRecipe

BUDGET = 0.5
"""Seconds in which the peak is looked for."""
SIDES = (256, 512, 1024, 2048, 4096, 8192)
"""Of the square matrices that are multiplied; the largest are left out where they would take too long."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Rate:
    """Measures the steps between two logged ones; what is computed is counted by formula, see `flops`."""

    def __init__(self, recipe: AnyRecipe, step: int) -> None:
        settings = recipe.train
        self.batch, self.last = settings.global_batch_size, settings.max_steps
        self.gflops = 2 * TRAINING * sum(macs(recipe).values()) / 1e9
        own = torch.tensor(peak(settings.precision, distributed.device()), device=distributed.device())
        self.peak = distributed.mean(own) * distributed.size()
        self.start(step)

    def start(self, step: int) -> None:
        """Begin to measure, after `step` steps."""
        self.step, self.began = step, time.perf_counter()

    def read(self, step: int) -> dict[str, float]:
        """Give the figures of the steps since `start`, of all processes together."""
        seconds, steps = time.perf_counter() - self.began, step - self.step
        images = steps * self.batch / seconds
        return {
            "images_per_second": images,
            "gflops_per_second": images * self.gflops,
            "share_of_peak": images * self.gflops / self.peak,
            "seconds": seconds,
            "eta_seconds": (self.last - step) * seconds / steps,
        }


@lru_cache
def peak(precision: Literal["fp32", "bf16", "fp16"], device: str) -> float:
    """GFLOP/s of this process's fastest square matrix product, measured once in well under a second.

    All processes of a run measure at the same time, so that those that share a machine get their share of it.
    """
    distributed.barrier()
    generator = torch.Generator(device).manual_seed(0)  # Torch's own state is not touched.
    best, end = 0.0, time.perf_counter() + BUDGET
    for side in SIDES:
        a, b = (torch.randn(side, side, generator=generator, device=device).to(DTYPES[precision]) for _ in range(2))
        out = a @ b
        seconds = min(_seconds(a, b, out) for _ in range(3))
        best = max(best, 2 * side**3 / seconds / 1e9)
        if time.perf_counter() + 4 * 8 * seconds > end:  # The next takes eight times as long, and is done four times.
            break
    return best


def _seconds(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> float:
    """Time of one product (n, n) x (n, n), by a few one after the other where it is short."""
    count = 1 if a.device.type == "cpu" else 10
    _wait(a)
    began = time.perf_counter()
    for _ in range(count):
        torch.mm(a, b, out=out)
    _wait(a)
    return (time.perf_counter() - began) / count


def _wait(a: torch.Tensor) -> None:
    if a.device.type != "cpu":
        torch.cuda.synchronize(a.device)


def shown(values: Mapping[str, float]) -> dict[str, str]:
    """The figures of a logged step, as the progress bar shows them."""
    gflops = values["gflops_per_second"]
    return {
        "loss": f"{values['loss']:.4f}",
        **({"val": f"{values['val_loss']:.4f}"} if "val_loss" in values else {}),
        "grad": f"{values['grad_norm']:.3g}",
        "lr": f"{values['lr']:.3g}",
        "images/s": _short(values["images_per_second"]),
        **({"GFLOP/s": _short(gflops)} if gflops < 10_000 else {"TFLOP/s": _short(gflops / 1000)}),
        "peak": f"{values['share_of_peak']:.0%}",
        "wait": f"{values['data_wait']:.1%}",
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
