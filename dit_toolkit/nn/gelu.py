"""GELU by tanh (Hendrycks & Gimpel 2016, section 2) without tanh, on which torch's kernel spends a CPU's time.

Since (1 + tanh u) / 2 = s(2 u), with the logistic function s, it is h s(h p), where p = C (1 + 0.044715 h^2) and
C = sqrt(8 / pi). Its derivative is s + h s (1 - s) (3 p - 2 C). On a CPU both are worked out in float32 or wider, in
pieces that stay in the cache; torch.compile makes one pass of the formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_toolkit.nn.recompute import left_to_torch

C = math.sqrt(8 / math.pi)
PIECE = 2**18
"""Elements worked on at a time: 1 MiB in float32."""


def tanh_gelu(h: Tensor) -> Tensor:
    """h (1 + tanh(sqrt(2 / pi) (h + 0.044715 h^3))) / 2, of the shape of h."""
    if h.device.type == "cpu" and torch.compiler.is_compiling():
        z = h.to(_wide(h))
        return (z * torch.sigmoid(z * (C + 0.044715 * C * z * z))).to(h.dtype)
    if h.device.type != "cpu" or torch.is_grad_enabled() or left_to_torch(h):
        return F.gelu(h, approximate="tanh")
    value = torch.empty_like(h, memory_format=torch.contiguous_format)
    constant = torch.tensor(C, dtype=_wide(h))
    for z, s, _, out in _pieces(h, value):
        torch.addcmul(constant, z, z, value=0.044715 * C, out=s).mul_(z).sigmoid_()
        torch.mul(z, s, out=out)
    return value


def tanh_gelu_backward(grad: Tensor, h: Tensor) -> Tensor:
    """The value for h again, of its shape; `grad`, a contiguous gradient of it, becomes that of h."""
    if h.device.type != "cpu":
        torch.ops.aten.gelu_backward.grad_input(grad, h, approximate="tanh", grad_input=grad)
        return F.gelu(h, approximate="tanh")
    value = torch.empty_like(h, memory_format=torch.contiguous_format)
    constant = torch.tensor(C, dtype=_wide(h))
    minus = -2 * constant
    for z, s, p, out, g in _pieces(h, value, grad):
        torch.addcmul(constant, z, z, value=0.044715 * C, out=p)
        torch.mul(p, z, out=s).sigmoid_()
        torch.mul(z, s, out=out)
        torch.add(minus, p, alpha=3, out=p).mul_(z)
        torch.ops.aten.sigmoid_backward.grad_input(p, s, grad_input=p)
        g.mul_(p.add_(s))
    return value


def _pieces(h: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one shape into flat pieces, those of h in float32 or wider, with two pieces to work in."""
    wide = _wide(h)
    room = h.new_empty(3, PIECE, dtype=wide)
    for z, *rest in zip(*(tensor.view(-1).split(PIECE) for tensor in (h.contiguous(), *others)), strict=True):
        copy, *spare = room[:, : z.numel()]
        yield (z if z.dtype == wide else copy.copy_(z)), *spare, *rest


def _wide(h: Tensor) -> torch.dtype:
    return torch.promote_types(h.dtype, torch.float32)
