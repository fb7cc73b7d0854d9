"""Bytes of model state by formula."""

from __future__ import annotations

from typing import Literal


def memory(parameters: int, *, world: int = 1, precision: Literal["fp32", "bf16", "fp16"] = "fp32") -> dict[int, int]:
    """Bytes of model state on each of `world` processes, by ZeRO stage 0 to 3; activations and buffers come on top.

    After Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3) with Adam and a float32 moving average. A
    parameter takes w bytes of weight and w of gradient (2 in bf16 and fp16, 4 in fp32) and k bytes of optimizer
    state: 4 of float32 master weight, 4 + 4 of Adam's moments, 4 of moving average. For P parameters on N processes:

        stage 0: P (2 w + k)        stage 1: P (2 w + k / N)
        stage 2: P (w + (w + k) / N)        stage 3: P (2 w + k) / N

    In fp32 stage 0 needs no master weights beside the weights; DeepSpeed's stages 1 to 3 keep their shard even so.
    """
    weight = 4 if precision == "fp32" else 2
    state = 16
    shard = -(-parameters // world)
    return {
        0: parameters * (2 * weight + state - (4 if precision == "fp32" else 0)),
        1: parameters * 2 * weight + shard * state,
        2: parameters * weight + shard * (weight + state),
        3: shard * (2 * weight + state),
    }
