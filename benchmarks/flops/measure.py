"""Times of a forward pass and a training step, beside those of a large matrix product."""

import gc
import time

import torch

from benchmarks.flops.memory import peak_memory, reset_peak

PRODUCT = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product gives the machine's peak."""


def measure(case, *, batch, dtype, device, repeats):
    """Shortest seconds of `repeats` rounds after one to warm up, in each: product, forward pass, training step.

    A training step is forward, backward and a fused AdamW on weights of that dtype.
    """
    gc.collect()  # The model before this one.
    kind = torch.device(device).type
    side = PRODUCT[kind]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    model = case.build().to(device, dtype)
    x, t, y = case.inputs(batch, dtype, device)
    target = torch.randn_like(model(x, t, y))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def forward():
        with torch.no_grad():
            model(x, t, y)

    def train():
        (model(x, t, y) - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    reset_peak(kind)
    works = {"product": lambda: a @ b, "forward": forward, "train": train}
    taken = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            taken[name].append(seconds(work, kind))
    best = {name: min(times[1:]) for name, times in taken.items()}
    return {
        "product_flops_per_second": 2 * side**3 / best["product"],
        "forward_seconds": best["forward"],
        "train_seconds": best["train"],
        "peak_memory": peak_memory(kind),
    }


def seconds(work, kind):
    """Wall time of one call, to the end of what it started on a GPU."""
    if kind == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if kind == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin
