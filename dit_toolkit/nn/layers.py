"""The small pieces of a transformer block."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, by tanh or exact."""

    def __init__(self, hidden_size: int, mlp_ratio: float = 4.0, *, gelu: Literal["tanh", "exact"] = "tanh") -> None:
        super().__init__()
        self.approximate = "tanh" if gelu == "tanh" else "none"
        self.fc1 = nn.Linear(hidden_size, int(hidden_size * mlp_ratio))
        self.fc2 = nn.Linear(int(hidden_size * mlp_ratio), hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, T, D) to (N, T, D)."""
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))  # (N, T, D)


def layer_norm(hidden_size: int, *, affine: bool = False) -> nn.LayerNorm:
    """LayerNorm with the paper's epsilon; plain blocks learn its scale and shift, adaptive ones modulate instead."""
    return nn.LayerNorm(hidden_size, eps=1e-6, elementwise_affine=affine)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (N, T, D) times 1 + scale, plus shift; both (N, D), equal for every token."""
    return torch.addcmul(shift.unsqueeze(1), x, 1 + scale.unsqueeze(1))  # (N, T, D)


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
