"""Inputs of linear layers that are computed where they are used, and in the backward pass again, not kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_toolkit.nn.gelu import tanh_gelu, tanh_gelu_backward
from dit_toolkit.nn.matmul import product
from dit_toolkit.nn.recompute import Gradients, differentiable, left_to_torch

EPS = 1e-6
"""LayerNorm's epsilon in the paper's release."""


class Normalised(NamedTuple):
    """layer_norm(x) of x (N, T, D), times `weight` plus `bias` (D,) where they are given."""

    x: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None

    def value(self) -> Tensor:
        """The formula: (N, T, D)."""
        x, weight, bias = self
        if torch.is_grad_enabled() and weight is not None and bias is not None and _sums_in_16_bits(x):
            return torch.addcmul(bias, Normalised(x).value(), weight)
        return F.layer_norm(x, x.shape[-1:], weight, bias, EPS)

    def backward(self, grad: Tensor) -> tuple[Tensor, Gradients]:
        """Return the value again, and from its gradient, which is used up, those of the fields."""
        (x, weight, bias), shape = self, self.x.shape[-1:]
        if weight is not None and bias is not None and _sums_in_16_bits(x):
            normalised, (of_x, *_) = Normalised(x).backward(grad * weight)  # 2 x (N, T, D)
            of_weight, of_bias = (z.flatten(0, -2).sum(0) for z in (grad * normalised, grad))  # (D,) each
            return torch.addcmul(bias, normalised, weight), (of_x, of_weight, of_bias)
        value, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, EPS)
        mask = [field is not None for field in self]
        return value, torch.ops.aten.native_layer_norm_backward(grad, x, shape, mean, rstd, weight, bias, mask)


def _sums_in_16_bits(x: Tensor) -> bool:
    """Whether torch's kernel adds up the gradients of a norm's weight and bias in 16 bits, and loses most of them."""
    return x.device.type == "cpu" and x.dtype.itemsize == 2


class Modulated(NamedTuple):
    """layer_norm(x) * (1 + scale) + shift of x (N, T, D), shift and scale (N, D)."""

    x: Tensor
    shift: Tensor
    scale: Tensor

    def value(self) -> Tensor:
        """The formula: (N, T, D)."""
        return torch.addcmul(self.shift.unsqueeze(1), Normalised(self.x).value(), 1 + self.scale.unsqueeze(1))

    def backward(self, grad: Tensor) -> tuple[Tensor, Gradients]:
        """Return the value again, and from its gradient, which is used up, those of the fields."""
        factor, of_shift = 1 + self.scale.unsqueeze(1), grad.sum(1)  # (N, 1, D), (N, D)
        normalised, (of_x, *_) = Normalised(self.x).backward(grad * factor)  # 2 x (N, T, D)
        of_scale = grad.mul_(normalised).sum(1)  # (N, D)
        return normalised.mul_(factor).add_(self.shift.unsqueeze(1)), (of_x, of_shift, of_scale)


class Gelu(NamedTuple):
    """gelu(h), exact."""

    h: Tensor

    def value(self) -> Tensor:
        """The formula, of the shape of h."""
        return F.gelu(self.h)

    def backward(self, grad: Tensor) -> tuple[Tensor, Gradients]:
        """Return the value again, and from its gradient, which is used up, that of h."""
        return F.gelu(self.h), (torch.ops.aten.gelu_backward.grad_input(grad, self.h, grad_input=grad),)


class TanhGelu(NamedTuple):
    """gelu(h), by tanh."""

    h: Tensor

    def value(self) -> Tensor:
        """The formula, of the shape of h."""
        return tanh_gelu(self.h)

    def backward(self, grad: Tensor) -> tuple[Tensor, Gradients]:
        """Return the value again, and from its gradient, which is used up, that of h."""
        return tanh_gelu_backward(grad, self.h), (grad,)


Deferred = Normalised | Modulated | Gelu | TanhGelu


def linear(given: Deferred, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply the value (..., D_in) with `weight` (D_out, D_in), plus `bias`; only the fields of `given` are kept."""
    if left_to_torch(given[0]):
        return F.linear(given.value(), weight, bias)
    return _Linear.apply(type(given), weight, bias, *given)


class _Linear(torch.autograd.Function):
    """F.linear of a deferred input."""

    @staticmethod
    def forward(ctx: Any, kind: Any, weight: Tensor, bias: Tensor | None, *fields: Tensor | None) -> Tensor:
        ctx.kind = kind
        ctx.save_for_backward(weight, bias, *fields)
        return product(kind(*fields).value(), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        weight, bias, *fields = ctx.saved_tensors
        if torch.is_grad_enabled():  # The gradient is to be differentiated again.
            return None, *differentiable(lambda w, b, *f: F.linear(ctx.kind(*f).value(), w, b), ctx.saved_tensors, grad)
        rows = grad.flatten(0, -2)  # (N T, D_out)
        value, of_fields = ctx.kind(*fields).backward(product(grad, weight.t()))
        of_weight = rows.t() @ value.flatten(0, -2) if ctx.needs_input_grad[1] else None  # (D_out, D_in)
        of_bias = None if bias is None else rows.sum(0)  # (D_out,)
        return None, of_weight, of_bias, *of_fields
