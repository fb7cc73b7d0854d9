"""What autograd functions that recompute have in common: when they step aside, and gradients of their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]
"""One for each input, None where there is none."""


def left_to_torch(x: Tensor) -> bool:
    """Whether torch must see the plain formula: it compiles (and recomputes by itself), transforms, or casts types."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
        or (torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type))
    )


def differentiable(formula: Any, inputs: Gradients, grad: Tensor) -> Gradients:
    """Gradients of a formula with a graph of their own, None for inputs that need none."""
    leaves = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    found = iter(torch.autograd.grad(formula(*inputs), leaves, grad, create_graph=True))
    return tuple(next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs)
