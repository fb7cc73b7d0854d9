"""Attention by two plain products, its T x T weights computed again in the backward pass instead of being kept."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_toolkit.nn.recompute import Gradients, differentiable, left_to_torch


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q k' / sqrt(d)) v for q (N, heads, T, d) and k, v (N, heads, S, d): (N, heads, T, d).

    Only q, k and v are kept for the backward pass; with dropout the weights are too.
    """
    shape = q.shape
    q, k, v = (z.reshape(-1, *z.shape[-2:]) for z in (q, k, v))  # (N heads, T, d), 2 x (N heads, S, d)
    x = _formula(q, k, v, dropout) if dropout or left_to_torch(q) else _Products.apply(q, k, v)
    return x.view(shape)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return _formula(q, k, v)  # (N heads, T, d)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        q, k, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # The gradient is to be differentiated again.
            return differentiable(_formula, (q, k, v), grad)
        scale = q.shape[-1] ** -0.5
        weights = _weights(q, k)  # (N heads, T, S)
        of_v = weights.transpose(1, 2) @ grad  # (N heads, S, d)
        of_weights = grad @ v.transpose(1, 2)  # (N heads, T, S)
        of_logits = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)  # (N heads, T, S)
        of_q = _product(of_logits, k, scale)  # (N heads, T, d)
        of_k = _product(of_logits.transpose(1, 2), q, scale)  # (N heads, S, d)
        return of_q, of_k, of_v


def _formula(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    weights = _weights(q, k)  # (N heads, T, S)
    return (F.dropout(weights, dropout) if dropout else weights) @ v  # (N heads, T, d)


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return _product(q, k.transpose(1, 2), q.shape[-1] ** -0.5).softmax(-1)  # (N heads, T, S)


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Batched product, scaled on the way."""
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)
