"""How many images fit into memory at a time."""

from __future__ import annotations

from dit_toolkit import distributed
from dit_toolkit.errors import DitToolkitError
from dit_toolkit.flops import costs_of, memory, state_options
from dit_toolkit.progress import log, warn
from dit_toolkit.recipe.autoencoder import AnyRecipe

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
    stage = getattr(recipe.train.backend, "zero_stage", 0)
    state = memory(costs.trainable, world=distributed.size(), **state_options(recipe, costs))[stage].device
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
