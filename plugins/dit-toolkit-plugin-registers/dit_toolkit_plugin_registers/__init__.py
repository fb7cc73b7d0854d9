"""The block `registers`: adaLN-Zero as it is built today, with register tokens before the image tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit import Block, hookimpl

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class Registers(Block):
    """adaLN-Zero with RMSNorm, QK-norm, a SwiGLU MLP and learned register tokens.

    RMSNorm in place of LayerNorm (Zhang & Sennrich 2019), also on the queries and keys of each head, so that attention
    logits stay bounded (Esser et al. 2024, section 5.3.2); SwiGLU (Shazeer 2020), as wide as makes its parameters those
    of a GELU MLP of ratio 4; registers, which spare image tokens from serving as scratch space (Darcet et al. 2024).
    """

    kind = "registers"
    identity_at_start = True
    num_registers: int = field(default=4, validator=[ge(0), le(1024)])
    """Learned tokens that take part in every block and are dropped at the end."""

    @property
    def extra_tokens(self) -> int:
        """The registers."""
        return self.num_registers

    def build(self, hidden_size: int, num_heads: int) -> nn.Module:
        """Make the block; the identity before training."""
        from dit_toolkit_plugin_registers.nn import RegistersBlock

        return RegistersBlock(hidden_size, num_heads, swiglu_width(hidden_size))

    def build_prefix(self, hidden_size: int) -> nn.Module | None:
        """Make the registers."""
        from dit_toolkit_plugin_registers.nn import RegisterTokens

        return RegisterTokens(self.num_registers, hidden_size) if self.num_registers else None

    def macs(self, tokens: int, hidden_size: int) -> dict[str, int]:
        """4 T D^2 + 2 T^2 D, 3 T D W with W about 8/3 D, and 6 D^2."""
        return {
            "attention": 4 * tokens * hidden_size**2 + 2 * tokens**2 * hidden_size,
            "mlp": 3 * tokens * hidden_size * swiglu_width(hidden_size),
            "modulation": 6 * hidden_size**2,
        }


def swiglu_width(hidden_size: int) -> int:
    """8/3 D rounded up to a multiple of 8: three matrices of this width hold what two of 4 D do."""
    return -(-hidden_size // 3) * 8


@hookimpl
def register_blocks() -> list[type[Block]]:
    """Offer the block."""
    return [Registers]
