"""The hooks of the network: blocks and patchifiers."""

from __future__ import annotations

from collections.abc import Iterable

from dit_toolkit.components import Block, Patchifier
from dit_toolkit.hookspecs.markers import hookspec


@hookspec
def register_blocks() -> Iterable[type[Block]]:
    '''Return the transformer blocks this plugin offers.

    A complete plugin::

        from attrs import frozen
        from torch import nn

        from dit_toolkit import Block, hookimpl


        class Gated(nn.Module):
            """x + gate(t + y) * mlp(x); the gate is 0 at first."""

            def __init__(self, hidden_size):
                super().__init__()
                self.mlp = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU())
                self.gate = nn.Linear(hidden_size, hidden_size)

            def reset(self):
                nn.init.zeros_(self.gate.weight)
                nn.init.zeros_(self.gate.bias)

            def forward(self, x, t, y):
                return x + self.gate(t + y).unsqueeze(1) * self.mlp(x)


        @frozen(kw_only=True)
        class Gating(Block):
            """A block without attention."""

            kind = "no-attention"
            identity_at_start = True

            def build(self, hidden_size, num_heads):
                return Gated(hidden_size)

            def macs(self, tokens, hidden_size):
                return {"mlp": tokens * hidden_size**2, "modulation": hidden_size**2}


        @hookimpl
        def register_blocks():
            return [Gating]
    '''


@hookspec
def register_patchifiers() -> Iterable[type[Patchifier]]:
    '''Return the patchifiers this plugin offers.

    A complete plugin::

        from attrs import frozen
        from torch import nn

        from dit_toolkit import Patchifier, hookimpl


        class Embed(nn.Module):
            def __init__(self, in_channels, hidden_size, patch):
                super().__init__()
                self.unfold = nn.Unfold(patch, stride=patch)
                self.linear = nn.Linear(in_channels * patch**2, hidden_size)

            def forward(self, x):
                return self.linear(self.unfold(x).transpose(1, 2))  # (N, T, D)


        class Head(nn.Module):
            def __init__(self, hidden_size, out_channels, patch):
                super().__init__()
                self.linear, self.patch = nn.Linear(hidden_size, out_channels * patch**2), patch

            def reset(self):
                nn.init.zeros_(self.linear.weight)
                nn.init.zeros_(self.linear.bias)

            def forward(self, x, grid):
                size = [n * self.patch for n in grid]
                return nn.functional.fold(self.linear(x).transpose(1, 2), size, self.patch, stride=self.patch)


        @frozen(kw_only=True)
        class Unfold(Patchifier):
            """One linear layer on the pixels of a patch."""

            kind = "unfold"
            patch_size: int = 2

            def build_embed(self, in_channels, hidden_size):
                return Embed(in_channels, hidden_size, self.patch_size)

            def build_head(self, hidden_size, out_channels):
                return Head(hidden_size, out_channels, self.patch_size)

            def macs(self, tokens, hidden_size, in_channels, out_channels):
                area = tokens * self.patch_size**2 * hidden_size
                return {"patch_embed": area * in_channels, "head": area * out_channels}


        @hookimpl
        def register_patchifiers():
            return [Unfold]
    '''
