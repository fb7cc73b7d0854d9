"""adaLN: adaLN-Zero without gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.blocks.transformer import TransformerBlock

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class AdaLN(TransformerBlock):
    """adaLN (Peebles & Xie 2023, section 3.2): shift and scale of both normalisations from time + class."""

    kind = "adaln"

    def build(self, hidden_size: int, num_heads: int) -> nn.Module:
        """Make the block; a plain pre-LN block before training."""
        from dit_toolkit.nn.adaln import AdaLNBlock

        attention = self.build_attention(hidden_size, num_heads)
        return AdaLNBlock(hidden_size, attention, self.build_mlp(hidden_size), self.dropout)

    def macs(self, tokens: int, hidden_size: int) -> dict[str, int]:
        """4 T D^2 + 2 T^2 D, 2 r T D^2 and 4 D^2."""
        return {**super().macs(tokens, hidden_size), "modulation": 4 * hidden_size**2}
