"""The adaLN block (Peebles & Xie 2023, section 3.2; Perez et al. 2018, FiLM)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dit_toolkit.nn.layers import LayerNorm, modulate, zero_


class AdaLNBlock(nn.Module):
    """Attention and MLP, their normalisation regressed from time + class; without gates."""

    def __init__(self, hidden_size: int, attention: nn.Module, mlp: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm(hidden_size)
        self.attention = attention
        self.norm2 = LayerNorm(hidden_size)
        self.mlp = mlp
        self.modulation = nn.Linear(hidden_size, 4 * hidden_size)
        self.dropout = nn.Dropout(dropout)

    def reset(self) -> None:
        """Zero the modulation: the block starts with plain normalisation."""
        zero_(self.modulation)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Map tokens x (N, T, D), conditioned on embeddings t and y (N, D), to (N, T, D)."""
        shift1, scale1, shift2, scale2 = self.modulation(F.silu(t + y)).chunk(4, dim=1)  # 4 x (N, D)
        x = x + self.dropout(self.attention(modulate(self.norm1(x), shift1, scale1)))  # (N, T, D)
        return x + self.dropout(self.mlp(modulate(self.norm2(x), shift2, scale2)))  # (N, T, D)
