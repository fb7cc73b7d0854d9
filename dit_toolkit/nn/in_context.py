"""The in-context block (Peebles & Xie 2023, section 3.2): time and class are tokens among the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dit_toolkit.nn.layers import LayerNorm


class InContextBlock(nn.Module):
    """The pre-LN block of a ViT (Dosovitskiy et al. 2021); what conditions it comes with the tokens."""

    def __init__(self, hidden_size: int, attention: nn.Module, mlp: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm(hidden_size, affine=True)
        self.attention = attention
        self.norm2 = LayerNorm(hidden_size, affine=True)
        self.mlp = mlp
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002 - they are the first two tokens
        """Map tokens x (N, 2 + T, D) to (N, 2 + T, D)."""
        x = x + self.dropout(self.attention(self.norm1(x)))  # (N, 2 + T, D)
        return x + self.dropout(self.mlp(self.norm2(x)))  # (N, 2 + T, D)


class ConditionTokens(nn.Module):
    """The embeddings of time and class as two tokens."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Stack t and y (N, D) to (N, 2, D)."""
        return torch.stack([t, y], dim=1)  # (N, 2, D)
