"""Multiply-adds as torch counts them, to hold the formulas against."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def counted_macs(module: nn.Module, *inputs: object, training: bool = False) -> int:
    """Multiply-adds of a forward pass by torch's FlopCounterMode; with `training` the backward pass too.

    Attention is two plain products while counting: torch's counter leaves its fused kernel for a CPU out, and a fused
    kernel's backward pass repeats a part of the forward one. Module and inputs may be on the meta device.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel([SDPBackend.MATH]),
        nullcontext() if training else torch.no_grad(),
    ):
        output = module(*inputs)
        if training:
            output.sum().backward()
    return int(counter.get_total_flops()) // 2
