"""Multi-head self-attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Multi-head self-attention with one linear layer for queries, keys and values."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, T, D) to (N, T, D)."""
        n, tokens, width = x.shape
        qkv = self.qkv(x).view(n, tokens, 3, self.num_heads, -1)  # (N, T, 3, heads, D / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x (N, heads, T, D / heads)
        x = attend(q, k, v)  # (N, heads, T, D / heads)
        return self.proj(x.transpose(1, 2).reshape(n, tokens, width))  # (N, T, D)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d)) v for q, k, v (N, heads, T, d).

    On a CPU in 16 bits, torch's fused kernel takes several times as long as two products (benchmarks/attention.py).
    """
    if q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16) and k.shape[-2] <= 1024:
        q3, k3, v3 = (z.reshape(-1, *z.shape[-2:]) for z in (q, k, v))  # (N heads, T, d)
        scores = torch.baddbmm(q.new_empty(1, 1, 1), q3, k3.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
        return (scores.softmax(-1) @ v3).view(q.shape)  # (N, heads, T, d)
    return F.scaled_dot_product_attention(q, k, v)
