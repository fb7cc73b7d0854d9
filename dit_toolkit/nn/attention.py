"""Multi-head attention: of tokens among themselves, and of tokens to a conditioning sequence."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dit_toolkit.errors import DitToolkitError
from dit_toolkit.nn.deferred import Deferred
from dit_toolkit.nn.layers import Linear
from dit_toolkit.nn.products import attend_by_products

Kernel = Literal["auto", "math", "sdpa", "flash", "efficient", "cudnn", "flex"]

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


class SelfAttention(nn.Module):
    """Multi-head self-attention with one linear layer for queries, keys and values.

    With `qk_norm` the queries and keys of each head pass an RMSNorm, which bounds the logits in 16 bits (Esser et al.
    2024, section 5.3.2). `dropout` falls on the attention weights, in training only.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, *, qk_norm: bool = False, kernel: Kernel = "auto", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads, self.kernel, self.dropout = num_heads, kernel, dropout
        self.qkv = Linear(hidden_size, 3 * hidden_size)
        self.qk_norm = QKNorm(hidden_size // num_heads) if qk_norm else None
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor | Deferred) -> Tensor:
        """Map x (N, T, D) to (N, T, D)."""
        q, k, v = (_heads(z, self.num_heads) for z in self.qkv(x).chunk(3, dim=-1))  # 3 x (N, heads, T, D / heads)
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        x = attend(q, k, v, kernel=self.kernel, dropout=self.dropout if self.training else 0.0)
        return self.proj(x.transpose(1, 2).flatten(2))  # (N, T, D)


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to a conditioning sequence of the same width; options as `SelfAttention`."""

    def __init__(
        self, hidden_size: int, num_heads: int, *, qk_norm: bool = False, kernel: Kernel = "auto", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads, self.kernel, self.dropout = num_heads, kernel, dropout
        self.q = Linear(hidden_size, hidden_size)
        self.kv = nn.Linear(hidden_size, 2 * hidden_size)
        self.qk_norm = QKNorm(hidden_size // num_heads) if qk_norm else None
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor | Deferred, context: Tensor) -> Tensor:
        """Map tokens x (N, T, D), looking at context (N, S, D), to (N, T, D)."""
        q = _heads(self.q(x), self.num_heads)  # (N, heads, T, D / heads)
        k, v = (_heads(z, self.num_heads) for z in self.kv(context).chunk(2, dim=-1))  # 2 x (N, heads, S, D / heads)
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        x = attend(q, k, v, kernel=self.kernel, dropout=self.dropout if self.training else 0.0)
        return self.proj(x.transpose(1, 2).flatten(2))  # (N, T, D)


class QKNorm(nn.Module):
    """RMSNorm of queries and of keys, over the channels of a head."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.q = nn.RMSNorm(head_size, eps=1e-6)
        self.k = nn.RMSNorm(head_size, eps=1e-6)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise q and k (N, heads, T, D / heads)."""
        return self.q(q), self.k(k)


def attend(q: Tensor, k: Tensor, v: Tensor, *, kernel: Kernel = "auto", dropout: float = 0.0) -> Tensor:
    """softmax(q k' / sqrt(d)) v for q (N, heads, T, d) and k, v (N, heads, S, d), by the kernel of that name.

    "math" is two plain products, "sdpa" what torch chooses, "flash", "efficient" and "cudnn" one of its backends,
    "flex" torch's compiled flex attention. "auto" takes the plain products on a CPU in 16 bits, where torch's fused
    kernel takes several times as long (benchmarks/attention.py), and "sdpa" elsewhere.

    Raises:
        DitToolkitError: the kernel cannot take these tensors on this device.
    """
    if kernel == "auto":
        low = q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16) and k.shape[-2] <= 1024
        kernel = "math" if low else "sdpa"
    if kernel == "math":
        return attend_by_products(q, k, v, dropout)
    if kernel == "sdpa":
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    where = f"{q.device.type} tensors of type {str(q.dtype).removeprefix('torch.')} and head size {q.shape[-1]}"
    if kernel == "flex":
        if q.device.type == "cpu" or dropout:
            raise DitToolkitError(f"attention kernel 'flex' needs a GPU and no dropout; got {where}, dropout {dropout}")
        return _flex()(q, k, v)
    try:
        with sdpa_kernel(BACKENDS[kernel]):
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    except RuntimeError as error:
        if not str(error).startswith(("No available kernel", "No viable backend")):
            raise
        raise DitToolkitError(f"attention kernel {kernel!r} cannot run here on {where}; 'sdpa' takes any") from error


@cache
def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """(N, T, D) to (N, heads, T, D / heads)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
