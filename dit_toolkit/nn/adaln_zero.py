"""The adaLN-Zero block (Peebles & Xie 2023, section 3.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dit_toolkit.nn.layers import LayerNorm, add_gated, modulate, zero_


class AdaLNZeroBlock(nn.Module):
    """Attention and MLP, their normalisation and residual gates regressed from time + class; the identity at first."""

    def __init__(self, hidden_size: int, attention: nn.Module, mlp: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm(hidden_size)
        self.attention = attention
        self.norm2 = LayerNorm(hidden_size)
        self.mlp = mlp
        self.modulation = nn.Linear(hidden_size, 6 * hidden_size)
        self.dropout = nn.Dropout(dropout)

    def reset(self) -> None:
        """Zero the modulation, and with it the gates."""
        zero_(self.modulation)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Map tokens x (N, T, D), conditioned on embeddings t and y (N, D), to (N, T, D)."""
        modulation = self.modulation(F.silu(t + y))  # (N, 6 D)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)  # 6 x (N, D)
        update = self.attention(modulate(self.norm1(x), shift1, scale1))  # (N, T, D)
        x = add_gated(x, gate1, self.dropout(update))  # (N, T, D)
        update = self.mlp(modulate(self.norm2(x), shift2, scale2))  # (N, T, D)
        return add_gated(x, gate2, self.dropout(update))  # (N, T, D)
