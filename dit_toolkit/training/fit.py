"""How many images fit into memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dit_toolkit import distributed
from dit_toolkit.errors import DitToolkitError, OutOfMemory, out_of_memory
from dit_toolkit.flops import costs_of, memory, state_options, zero_stage
from dit_toolkit.progress import log, warn
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.recipe.sizes import split_batch

RESERVE = 0.85
"""Share of the memory that is free which may be used."""
BACKWARD = 1.3
"""Activations and what the backward pass needs beside them, relative to the activations."""


def micro_batch_size(recipe: AnyRecipe, share: int) -> int:
    """Images per forward pass where the recipe does not say: the most that divide `share` and are likely to fit.

    An estimate: model state by formula, activations counted on the recipe's network, both against the memory that is
    free before the model is built. Every rank gets the number of rank 0.
    """
    costs = costs_of(recipe)
    if isinstance(costs.activations, DitToolkitError):
        return share
    each = round(BACKWARD * costs.activations)
    found = memory(costs.trainable, world=distributed.size(), **state_options(recipe, costs))
    state = found[zero_stage(recipe)].device
    spare = 2 * 4 * costs.trainable  # Gradients accumulated in float32, and what an engine holds twice for a moment.
    free = distributed.free_memory(distributed.device())
    budget = RESERVE * free - state - spare
    fitting = [n for n in range(1, share + 1) if share % n == 0 and n * each <= budget]
    micro = int(distributed.broadcast(max(fitting, default=1)))
    if micro < share:
        log(
            f"{micro} of the {share} images of a step at a time: {each / 2**20:,.0f} MiB each beside "
            f"{state / 2**30:.1f} GiB of model state; train.micro_batch_size sets another number"
        )
    if not fitting:
        warn(f"{free / 2**30:.1f} GiB of memory are free, which may be too little")
    return micro


@contextmanager
def explaining(recipe: AnyRecipe) -> Iterator[None]:
    """Make of running out of memory in a `with` block an error that says what to change, with the estimate.

    Raises:
        OutOfMemory: in place of what torch raises.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise OutOfMemory(*advice(recipe)) from error


def advice(recipe: AnyRecipe) -> list[str]:
    """What a step needs by the estimate, and the options that need less, a line each."""
    settings, world, costs = recipe.train, distributed.size(), costs_of(recipe)
    stage, found = zero_stage(recipe), memory(costs.trainable, world=world, **state_options(recipe, costs))
    states = {number: state.device for number, state in found.items()}
    share, micro = split_batch(settings, world)
    images = ""
    if not isinstance(costs.activations, DitToolkitError):
        images = f"{micro * BACKWARD * costs.activations / 2**30:.1f} GiB for {micro} images at a time and "
    all_memory = distributed.all_memory(distributed.device())
    lines = [
        f"out of memory. The estimate: {images}{states[stage] / 2**30:.1f} GiB of model state on each of {world} "
        f"process(es), of {all_memory / 2**30:.1f} GiB. What needs less:"
    ]
    if micro > 1:
        fewer = max(n for n in range(1, micro) if share % n == 0)
        lines.append(f"  train.micro_batch_size = {fewer}: the same steps from smaller parts")
    if settings.precision == "fp32":
        lines.append('  train.precision = "bf16": half the activations')
    if not settings.activation_checkpointing:
        lines.append("  train.activation_checkpointing = 1: little but the inputs of blocks, a third more time")
    for better in [number for number in states if number > stage] if world > 1 else ():
        lines.append(f"  train.backend.zero_stage = {better}: {states[better] / 2**30:.1f} GiB of model state on each")
    if getattr(settings.backend, "offload", None) == "none" and distributed.device() != "cpu":
        lines.append('  train.backend.offload = "optimizer": its state waits in the memory of the CPU')
    if world == 1 or not lines[1:]:
        lines.append("  more processes (GPUs), over which train.backend.zero_stage = 1, 2 or 3 spreads the model state")
    return lines
