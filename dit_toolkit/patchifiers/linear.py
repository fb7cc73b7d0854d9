"""The same patches by a linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.patchifiers.patches import Patches

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class Linear(Patches):
    """Flattened patches through a linear layer, the same function as `conv`: its weight is that kernel, flattened."""

    kind = "linear"

    def build_embed(self, in_channels: int, hidden_size: int) -> nn.Module:
        """Make the linear layer."""
        from dit_toolkit.nn.patch import LinearEmbed

        return LinearEmbed(in_channels, hidden_size, self.patch)
