"""The options that the patchifiers share: the size of a patch, and the head that puts the tokens back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from dit_toolkit.components import Patchifier

if TYPE_CHECKING:
    from attrs import Attribute
    from torch import nn


def _patch(_: object, attribute: Attribute[int], value: int | tuple[int, int]) -> None:
    if not all(1 <= size <= 1024 for size in ((value,) if isinstance(value, int) else value)):
        raise ValueError(f"'{attribute.name}' must be 1 to 1024: {value}")


@frozen(kw_only=True)
class Patches(Patchifier):
    """Patches that do not overlap, each of them one token."""

    patch_size: int | tuple[int, int] = field(default=2, validator=_patch)
    """Pixels of a side, or [height, width]."""
    head: Literal["linear", "conv-transpose"] = "linear"
    """A linear layer with a bias for every pixel of a patch (the paper), or a transposed convolution with one for every
    channel (Cerebras modelzoo)."""

    def build_head(self, hidden_size: int, out_channels: int) -> nn.Module:
        """Make the head, zero at first."""
        from dit_toolkit.nn.patch import ConvTransposeHead, LinearHead

        kind = LinearHead if self.head == "linear" else ConvTransposeHead
        return kind(hidden_size, out_channels, self.patch)

    def macs(self, tokens: int, hidden_size: int, in_channels: int, out_channels: int) -> dict[str, int]:
        """T p^2 C D and T p^2 C_out D."""
        area = self.patch[0] * self.patch[1]
        return {
            "patch_embed": tokens * area * in_channels * hidden_size,
            "head": tokens * area * out_channels * hidden_size,
        }
