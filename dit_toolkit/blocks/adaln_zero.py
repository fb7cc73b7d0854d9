"""adaLN-Zero: the block that won in the DiT paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.blocks.transformer import TransformerBlock

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class AdaLNZero(TransformerBlock):
    """adaLN-Zero (Peebles & Xie 2023, section 3.2): shift, scale and gate of every branch from time + class."""

    kind = "adaln-zero"
    identity_at_start = True

    def build(self, hidden_size: int, num_heads: int) -> nn.Module:
        """Make the block; the identity before training."""
        from dit_toolkit.nn.adaln_zero import AdaLNZeroBlock

        attention = self.build_attention(hidden_size, num_heads)
        return AdaLNZeroBlock(hidden_size, attention, self.build_mlp(hidden_size), self.dropout)

    def macs(self, tokens: int, hidden_size: int) -> dict[str, int]:
        """4 T D^2 + 2 T^2 D, 2 r T D^2 and 6 D^2."""
        return {**super().macs(tokens, hidden_size), "modulation": 6 * hidden_size**2}
