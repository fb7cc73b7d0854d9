"""Attention by two plain products, its T x T weights computed again in the backward pass instead of being kept.

On a CPU they are worked out for some heads at a time, in memory that stays in the cache: new memory for all of them
costs as much time as the products.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_toolkit.nn.recompute import Gradients, differentiable, left_to_torch

PIECE = 2**21
"""Most weights at a time, of whole heads: 4 MiB in 16 bits."""


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q k' / sqrt(d)) v for q (N, heads, T, d) and k, v (N, heads, S, d): (N, heads, T, d).

    Only q, k and v are kept for the backward pass; with dropout the weights are too.
    """
    shape = q.shape
    q, k, v = (z.reshape(-1, *z.shape[-2:]) for z in (q, k, v))  # (N heads, T, d), 2 x (N heads, S, d)
    if torch.compiler.is_compiling() and not dropout and q.device.type == "cpu":
        return attended(q, k, v).view(shape)
    x = _formula(q, k, v, dropout) if dropout or left_to_torch(q) else _Products.apply(q, k, v)
    return x.view(shape)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return _forward(q, k, v)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        q, k, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # The gradient is to be differentiated again.
            return differentiable(_formula, (q, k, v), grad)
        return _backward(q, k, v, grad)


def _forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    x = torch.empty_like(q)  # (N heads, T, d)
    for q_, k_, v_, out in _pieces(q, k, v, x):
        torch.bmm(_weights(q_, k_), v_, out=out)
    return x


def _backward(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = q.shape[-1] ** -0.5
    of_q, of_k, of_v = (torch.empty_like(z) for z in (q, k, v))  # (N heads, T, d), 2 x (N heads, S, d)
    for q_, k_, v_, g, *out in _pieces(q, k, v, grad, of_q, of_k, of_v):
        weights = _weights(q_, k_)  # (n, T, S)
        torch.bmm(weights.transpose(1, 2), g, out=out[2])  # (n, S, d)
        of_weights = g @ v_.transpose(1, 2)  # (n, T, S)
        of_logits = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)  # (n, T, S)
        _product(of_logits, k_, scale, out=out[0])  # (n, T, d)
        _product(of_logits.transpose(1, 2), q_, scale, out=out[1])  # (n, S, d)
    return of_q, of_k, of_v


attended = torch.library.custom_op("dit_toolkit::attended", _forward, mutates_args=())
"""The same for torch.compile, which takes it as it is: of the formula it would work out all heads at once."""
attended_backward = torch.library.custom_op("dit_toolkit::attended_backward", _backward, mutates_args=())


@attended.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(q)


@attended_backward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


attended.register_autograd(
    lambda ctx, grad: attended_backward(*ctx.saved_tensors, grad.contiguous()),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),  # noqa: ARG005
)


def _pieces(q: Tensor, k: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors along the heads, on a CPU so that at most PIECE weights come of each piece of q and k."""
    heads = max(1, PIECE // (q.shape[1] * k.shape[1])) if q.device.type == "cpu" else len(q)
    return zip(*(z.split(heads) for z in (q, k, *others)), strict=True)


def _formula(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    weights = _weights(q, k)  # (N heads, T, S)
    return (F.dropout(weights, dropout) if dropout else weights) @ v  # (N heads, T, d)


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return _product(q, k.transpose(1, 2), q.shape[-1] ** -0.5).softmax(-1)  # (N heads, T, S)


def _product(a: Tensor, b: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """Batched product, scaled on the way."""
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale, out=out)
