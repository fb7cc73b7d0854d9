"""Cross-attention to time and class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.blocks.transformer import TransformerBlock

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class CrossAttention(TransformerBlock):
    """Cross-attention (Peebles & Xie 2023, section 3.2): every token looks at the sequence of time and class."""

    kind = "cross-attention"
    adaptive = False

    def build(self, hidden_size: int, num_heads: int) -> nn.Module:
        """Make a block of self-attention, cross-attention and MLP."""
        from dit_toolkit.nn.cross_attention import CrossAttentionBlock

        attention, cross = (self.build_attention(hidden_size, num_heads, cross=cross) for cross in (False, True))
        return CrossAttentionBlock(hidden_size, attention, cross, self.build_mlp(hidden_size), self.dropout)

    def macs(self, tokens: int, hidden_size: int) -> dict[str, int]:
        """4 T D^2 + 2 T^2 D, 2 r T D^2, and (2 T + 2 S) D^2 + 2 T S D to look at S = 2 tokens."""
        cross = (2 * tokens + 2 * 2) * hidden_size**2 + 2 * tokens * 2 * hidden_size
        return {**super().macs(tokens, hidden_size), "cross_attention": cross}
