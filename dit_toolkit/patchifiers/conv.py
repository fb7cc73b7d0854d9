"""The patchifier of ViT and DiT: a convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.patchifiers.patches import Patches

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class Conv(Patches):
    """Patches by a convolution with kernel = stride = patch (Dosovitskiy et al. 2021)."""

    kind = "conv"

    def build_embed(self, in_channels: int, hidden_size: int) -> nn.Module:
        """Make the convolution."""
        from dit_toolkit.nn.patch import ConvEmbed

        return ConvEmbed(in_channels, hidden_size, self.patch)
