"""The options that the four blocks of the DiT paper share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, le, lt

from dit_toolkit.components import Block

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class TransformerBlock(Block):
    """Multi-head attention and an MLP of two layers; what conditions them is the variant's."""

    mlp_ratio: float = field(default=4.0, validator=[gt(0), le(64)])
    gelu: Literal["tanh", "exact"] = "tanh"
    """The paper's release has the tanh approximation; the exact one is many times faster in bf16 on a CPU."""
    qk_norm: bool = False
    """RMSNorm of queries and keys: the known cure of 16-bit runs that end in NaN."""
    attention: Literal["auto", "math", "sdpa", "flash", "efficient", "cudnn", "flex"] = "auto"
    """The kernel: math is two plain products, sdpa torch's choice, flash, efficient and cudnn one of its backends, flex
    its compiled flex attention on a GPU; auto is math on a CPU in 16 bits and sdpa elsewhere."""
    attention_dropout: float = field(default=0.0, validator=[ge(0), lt(1)])
    """Share of attention weights dropped in training."""
    dropout: float = field(default=0.0, validator=[ge(0), lt(1)])
    """Share of what attention and MLP add to the tokens that is dropped in training."""

    def build_attention(self, hidden_size: int, num_heads: int, *, cross: bool = False) -> nn.Module:
        """Make self-attention, or attention to a conditioning sequence."""
        from dit_toolkit.nn.attention import CrossAttention, SelfAttention

        options: dict[str, Any] = {
            "qk_norm": self.qk_norm,
            "kernel": self.attention,
            "dropout": self.attention_dropout,
        }
        return (CrossAttention if cross else SelfAttention)(hidden_size, num_heads, **options)

    def build_mlp(self, hidden_size: int) -> nn.Module:
        """Make the MLP."""
        from dit_toolkit.nn.layers import Mlp

        return Mlp(hidden_size, self.mlp_ratio, gelu=self.gelu)

    def macs(self, tokens: int, hidden_size: int) -> dict[str, int]:
        """4 T D^2 + 2 T^2 D of attention and 2 r T D^2 of the MLP, to which a variant adds its own."""
        return {
            "attention": 4 * tokens * hidden_size**2 + 2 * tokens**2 * hidden_size,
            "mlp": 2 * tokens * hidden_size * int(hidden_size * self.mlp_ratio),
        }
