"""The cross-attention block (Peebles & Xie 2023, section 3.2): tokens look at time and class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dit_toolkit.nn.layers import LayerNorm


class CrossAttentionBlock(nn.Module):
    """Self-attention, cross-attention to the sequence [t, y] (Vaswani et al. 2017, section 3.2.3), and MLP; pre-LN."""

    def __init__(
        self, hidden_size: int, attention: nn.Module, cross_attention: nn.Module, mlp: nn.Module, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(hidden_size, affine=True)
        self.attention = attention
        self.norm2 = LayerNorm(hidden_size, affine=True)
        self.cross_attention = cross_attention
        self.norm3 = LayerNorm(hidden_size, affine=True)
        self.mlp = mlp
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Map tokens x (N, T, D), conditioned on embeddings t and y (N, D), to (N, T, D)."""
        condition = torch.stack([t, y], dim=1)  # (N, 2, D)
        x = x + self.dropout(self.attention(self.norm1(x)))  # (N, T, D)
        x = x + self.dropout(self.cross_attention(self.norm2(x), condition))  # (N, T, D)
        return x + self.dropout(self.mlp(self.norm3(x)))  # (N, T, D)
