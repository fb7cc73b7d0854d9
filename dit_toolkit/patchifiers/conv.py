"""The patchifier of ViT and DiT: a convolution in, a linear layer out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from dit_toolkit.components import Patchifier

if TYPE_CHECKING:
    from attrs import Attribute
    from torch import nn


def _patch(_: object, attribute: Attribute[int], value: int | tuple[int, int]) -> None:
    if not all(1 <= size <= 1024 for size in ((value,) if isinstance(value, int) else value)):
        raise ValueError(f"'{attribute.name}' must be 1 to 1024: {value}")


@frozen(kw_only=True)
class Conv(Patchifier):
    """Patches by a convolution with kernel = stride = patch (Dosovitskiy et al. 2021), back by a linear layer."""

    kind = "conv"
    patch_size: int | tuple[int, int] = field(default=2, validator=_patch)

    def build_embed(self, in_channels: int, hidden_size: int) -> nn.Module:
        """Make the convolution."""
        from dit_toolkit.nn.patch import ConvEmbed

        return ConvEmbed(in_channels, hidden_size, self.patch)

    def build_head(self, hidden_size: int, out_channels: int) -> nn.Module:
        """Make the linear layer, zero at first."""
        from dit_toolkit.nn.patch import LinearHead

        return LinearHead(hidden_size, out_channels, self.patch)

    def macs(self, tokens: int, hidden_size: int, in_channels: int, out_channels: int) -> dict[str, int]:
        """T p^2 C D and T p^2 C_out D."""
        area = self.patch[0] * self.patch[1]
        return {
            "patch_embed": tokens * area * in_channels * hidden_size,
            "head": tokens * area * out_channels * hidden_size,
        }
