"""The small pieces of a transformer block."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn

from dit_toolkit.nn.deferred import Deferred, Gelu, Modulated, Normalised, TanhGelu, linear


class Linear(nn.Linear):
    """A linear layer that also takes a deferred input, which it computes, and does not keep."""

    def forward(self, given: Tensor | Deferred) -> Tensor:
        """Map (..., D_in) to (..., D_out)."""
        if isinstance(given, Tensor):
            return super().forward(given)
        return linear(given, self.weight, self.bias)


class LayerNorm(nn.Module):
    """LayerNorm, deferred; plain blocks learn its scale and shift, adaptive ones modulate instead."""

    def __init__(self, hidden_size: int, *, affine: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size)) if affine else None
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if affine else None

    def forward(self, x: Tensor) -> Normalised:
        """Normalise x (N, T, D)."""
        if self.weight is None or self.bias is None:
            return Normalised(x)
        return Normalised(x, self.weight.clone(), self.bias.clone())  # ZeRO-3 takes the weights back before they serve.


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, by tanh or exact."""

    def __init__(self, hidden_size: int, mlp_ratio: float = 4.0, *, gelu: Literal["tanh", "exact"] = "tanh") -> None:
        super().__init__()
        self.gelu = TanhGelu if gelu == "tanh" else Gelu
        self.fc1 = Linear(hidden_size, int(hidden_size * mlp_ratio))
        self.fc2 = Linear(int(hidden_size * mlp_ratio), hidden_size)

    def forward(self, x: Tensor | Deferred) -> Tensor:
        """Map x (N, T, D) to (N, T, D)."""
        return self.fc2(self.gelu(self.fc1(x)))  # (N, T, D)


@overload
def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor: ...


@overload
def modulate(x: Normalised, shift: Tensor, scale: Tensor) -> Tensor | Modulated: ...


def modulate(x: Tensor | Normalised, shift: Tensor, scale: Tensor) -> Tensor | Modulated:
    """x (N, T, D) times 1 + scale, plus shift; both (N, D), equal for every token."""
    if isinstance(x, Normalised):
        if x.weight is None:
            return Modulated(x.x, shift, scale)
        x = x.value()  # (N, T, D)
    return torch.addcmul(shift.unsqueeze(1), x, 1 + scale.unsqueeze(1))  # (N, T, D)


def add_gated(x: Tensor, gate: Tensor, update: Tensor) -> Tensor:
    """x + gate * update for x, update (N, T, D) and a gate (N, D), equal for every token; in one pass."""
    return torch.addcmul(x, gate.unsqueeze(1), update)  # (N, T, D)


def init_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear layer below `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def zero_(layer: nn.Linear | nn.ConvTranspose2d) -> None:
    """Zero a layer, so that what it feeds starts as the identity or as 0."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
