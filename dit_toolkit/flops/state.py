"""Bytes of model state by formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

if TYPE_CHECKING:
    from dit_toolkit.flops.costs import Costs
    from dit_toolkit.recipe.autoencoder import AnyRecipe

Precision = Literal["fp32", "bf16", "fp16"]
Offload = Literal["none", "optimizer", "all"]


class Options(TypedDict):
    """What the state depends on, beside the parameters and the number of processes."""

    precision: Precision
    moments: int
    averages: int
    offload: Offload


class State(NamedTuple):
    """Bytes on each process."""

    device: int
    offloaded: int
    """In the memory of the CPU."""


def zero_stage(recipe: AnyRecipe) -> int:
    """The stage of the recipe's backend; 0 of one that has none."""
    stage: int = getattr(recipe.train.backend, "zero_stage", 0)
    return stage


def state_options(recipe: AnyRecipe, costs: Costs) -> Options:
    """What a recipe says of it."""
    train = recipe.train
    return {
        "precision": train.precision,
        "moments": costs.moments,
        "averages": len(train.averages),
        "offload": getattr(train.backend, "offload", "none"),
    }


def memory(
    parameters: int,
    *,
    world: int = 1,
    precision: Precision = "fp32",
    moments: int | None = None,
    averages: int = 1,
    offload: Offload = "none",
) -> dict[int, State]:
    """Bytes of model state on each of `world` processes, by ZeRO stage 0 to 3; activations and buffers come on top.

    After Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3). P parameters take w bytes of weight and w of
    gradient each (2 in bf16 and fp16, 4 in fp32) and together K bytes of optimizer state: 4 P of float32 master
    weights, 4 P for each moving average, and `moments`, which are 8 P of Adam unless given. On N processes:

        stage 0: 2 w P + K        stage 1: 2 w P + K / N
        stage 2: w P + (w P + K) / N        stage 3: (2 w P + K) / N

    In fp32 stage 0 needs no master weights beside the weights; DeepSpeed's stages 1 to 3 keep their shard even so.

    With `offload` "optimizer" K / N and the gradients, 4 P / N, wait in the memory of the CPU, from stage 1 on (Ren et
    al. 2021, ZeRO-Offload, arXiv 2101.06840), and stage 2 needs no gradients on the device; with "all", which is
    stage 3 alone, the weights do so too.
    """
    weight = 4 if precision == "fp32" else 2
    optimizer = 4 * parameters * (1 + averages) + (8 * parameters if moments is None else moments)
    whole, shard, shared = weight * parameters, weight * -(-parameters // world), -(-optimizer // world)
    if offload == "none":
        found = {
            0: 2 * whole + optimizer - (whole if precision == "fp32" else 0),
            1: 2 * whole + shared,
            2: whole + shard + shared,
            3: 2 * shard + shared,
        }
        return {stage: State(value, 0) for stage, value in found.items()}
    away = shared + 4 * -(-parameters // world)
    if offload == "all":
        return {3: State(0, away + shard)}
    return {1: State(2 * whole, away), 2: State(whole, away), 3: State(shard, away)}


def checkpoint_size(parameters: int, *, averages: int = 1) -> int:
    """Bytes of a checkpoint, in float32 whatever the precision: weights, moving averages and Adam's two moments."""
    return 4 * parameters * (1 + averages + 2)
