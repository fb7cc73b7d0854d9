"""The product of a linear layer, by the kernel that is fastest on the device."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether torch was built with oneDNN, for this processor."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight' + bias for x (..., D_in), weight (D_out, D_in), bias (D_out,), without a graph for gradients.

    On a CPU torch multiplies float32 by MKL and adds a bias in 16 bits apart; oneDNN's kernel for inference does both
    at once, and float32 a tenth faster (benchmarks/matmul.py).
    """
    if x.device.type == "cpu" and ONEDNN and (x.dtype == torch.float32 or _low(x.dtype)):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _low(dtype: torch.dtype) -> bool:
    return dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _flops(x: tuple[int, ...], weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    """What torch's counter is to count of oneDNN's product, which it does not know."""
    return 2 * prod(x) * weight[0]


if ONEDNN:
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_flops)
