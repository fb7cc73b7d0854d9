"""Embeddings of time, class and position."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 256
"""Length of the sinusoidal timestep embedding."""


class TimeEmbed(nn.Module):
    """Sinusoids of the timestep (Vaswani et al. 2017, section 3.5, ordered [cos | sin]) -> Linear -> SiLU -> Linear.

    The frequencies are 10000^(-i / 128), or 10000^(-i / 127) as diffusers' DiT has them, for i = 0 .. 127.
    """

    def __init__(self, hidden_size: int, frequencies: Literal["paper", "diffusers"] = "paper") -> None:
        super().__init__()
        self.span = FREQUENCIES // 2 - (frequencies == "diffusers")
        self.fc1 = nn.Linear(FREQUENCIES, hidden_size)
        self.fc2 = nn.Linear(hidden_size, hidden_size)

    def forward(self, t: Tensor) -> Tensor:
        """Embed t (N,), whole or fractional, as (N, D); float32 until the first layer (bf16 has no 257)."""
        half = torch.arange(FREQUENCIES // 2, dtype=torch.float32, device=t.device)
        omega = torch.exp(-math.log(10_000) * half / self.span)  # (128,)
        angle = t.float()[:, None] * omega  # (N, 128)
        x = torch.cat([angle.cos(), angle.sin()], dim=1)  # (N, 256)
        return self.fc2(F.silu(self.fc1(x.to(self.fc1.weight.dtype))))  # (N, D)


def sincos_positions(hidden_size: int, rows: int, columns: int) -> Tensor:
    """Fixed 2-D sine-cosine positions (rows * columns, D), float32.

    The first half of the channels holds the column, the second the row, each as [sin | cos] of
    index / 10000^(i / (D / 4)) (Chen et al. 2021, MoCo v3).
    """
    omega = 10_000.0 ** (-torch.arange(hidden_size // 4, dtype=torch.float64) / (hidden_size // 4))  # (D / 4,)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    parts = []
    for index in (column, row):
        angle = index.reshape(-1, 1) * omega  # (T, D / 4)
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=1).float()  # (T, D)
