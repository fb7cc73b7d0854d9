"""The modules of the block `registers`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_toolkit import attend, modulate


class RegistersBlock(nn.Module):
    """Attention and SwiGLU, their normalisation and residual gates regressed from time + class; the identity at first.

    The layout of Peebles & Xie 2023, section 3.2, with the parts of later transformers.
    """

    def __init__(self, hidden_size: int, num_heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(hidden_size, eps=1e-6, elementwise_affine=False)
        self.attention = QKNormAttention(hidden_size, num_heads)
        self.norm2 = nn.RMSNorm(hidden_size, eps=1e-6, elementwise_affine=False)
        self.mlp = SwiGLU(hidden_size, mlp_width)
        self.modulation = nn.Linear(hidden_size, 6 * hidden_size)

    def reset(self) -> None:
        """Zero the modulation, and with it the gates."""
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Map tokens x (N, T, D), registers included, conditioned on embeddings t and y (N, D), to (N, T, D)."""
        modulation = self.modulation(F.silu(t + y))  # (N, 6 D)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)  # 6 x (N, D)
        x = x + gate1.unsqueeze(1) * self.attention(modulate(self.norm1(x), shift1, scale1))  # (N, T, D)
        return x + gate2.unsqueeze(1) * self.mlp(modulate(self.norm2(x), shift2, scale2))  # (N, T, D)


class QKNormAttention(nn.Module):
    """Multi-head self-attention with RMSNorm on every query and key (Esser et al. 2024, section 5.3.2)."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.q_norm = nn.RMSNorm(hidden_size // num_heads, eps=1e-6)
        self.k_norm = nn.RMSNorm(hidden_size // num_heads, eps=1e-6)
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, T, D) to (N, T, D)."""
        n, tokens, width = x.shape
        qkv = self.qkv(x).view(n, tokens, 3, self.num_heads, -1)  # (N, T, 3, heads, D / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x (N, heads, T, D / heads)
        x = attend(self.q_norm(q), self.k_norm(k), v)  # (N, heads, T, D / heads)
        return self.proj(x.transpose(1, 2).reshape(n, tokens, width))  # (N, T, D)


class SwiGLU(nn.Module):
    """(silu(x W1) * x W2) W3, without biases (Shazeer 2020, equation 6)."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden_size, width, bias=False)
        self.value = nn.Linear(hidden_size, width, bias=False)
        self.out = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, T, D) to (N, T, D)."""
        x = F.silu(self.gate(x)) * self.value(x)  # (N, T, W)
        return self.out(x)  # (N, T, D)


class RegisterTokens(nn.Module):
    """Learned tokens, equal for every image (Darcet et al. 2024, "Vision Transformers Need Registers", section 2.2)."""

    def __init__(self, number: int, hidden_size: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(number, hidden_size))
        self.reset()

    def reset(self) -> None:
        """Small normal numbers."""
        nn.init.normal_(self.tokens, std=0.02)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002 - equal whatever the class
        """Repeat the registers for embeddings t and y (N, D) to (N, R, D)."""
        return self.tokens.expand(len(t), -1, -1)  # (N, R, D)
