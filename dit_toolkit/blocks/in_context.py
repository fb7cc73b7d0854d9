"""In-context conditioning: two tokens more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.blocks.transformer import TransformerBlock

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class InContext(TransformerBlock):
    """In-context conditioning (Peebles & Xie 2023, section 3.2): time and class as two extra tokens of a plain ViT."""

    kind = "in-context"
    adaptive = False

    @property
    def extra_tokens(self) -> int:
        """Time and class."""
        return 2

    def build(self, hidden_size: int, num_heads: int) -> nn.Module:
        """Make a ViT block."""
        from dit_toolkit.nn.in_context import InContextBlock

        attention = self.build_attention(hidden_size, num_heads)
        return InContextBlock(hidden_size, attention, self.build_mlp(hidden_size), self.dropout)

    def build_prefix(self, hidden_size: int) -> nn.Module | None:  # noqa: ARG002 - the embeddings have it
        """Make the module that stacks time and class."""
        from dit_toolkit.nn.in_context import ConditionTokens

        return ConditionTokens()
