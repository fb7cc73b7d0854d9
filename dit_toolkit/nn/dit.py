"""The Diffusion Transformer (Peebles & Xie 2023, "Scalable Diffusion Models with Transformers", figure 3)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dit_toolkit.components import Block, Patchifier
from dit_toolkit.nn.deferred import Deferred
from dit_toolkit.nn.embed import TimeEmbed, sincos_positions
from dit_toolkit.nn.layers import LayerNorm, init_linear, modulate, zero_
from dit_toolkit.nn.patch import LinearHead


class DiT(nn.Module):
    """Patch embedding, transformer blocks conditioned on time and class, and a zero-initialised head.

    Args:
        input_size: height and width of x.
        in_channels, out_channels: channels of x and of the output (twice as many with a learned sigma).
        hidden_size, depth, num_heads: D, number of blocks, attention heads.
        num_classes: real classes; with `null_class` the label `num_classes` stands for "no class".
        patchifier, block: the components that build embedding, head and blocks.
        positions: "sincos", fixed and outside the parameters, or "learned".
        time_frequencies: of the sinusoids of t, see `TimeEmbed`.
    """

    positions: Tensor
    recompute: int = 0
    """Every n-th block is run again in the backward pass and keeps its inputs alone; 0 none."""

    def __init__(
        self,
        *,
        input_size: tuple[int, int],
        in_channels: int,
        out_channels: int,
        hidden_size: int,
        depth: int,
        num_heads: int,
        num_classes: int,
        patchifier: Patchifier,
        block: Block,
        null_class: bool = True,
        positions: Literal["sincos", "learned"] = "sincos",
        time_frequencies: Literal["paper", "diffusers"] = "paper",
    ) -> None:
        super().__init__()
        self.grid = patchifier.grid(*input_size)
        self.extra_tokens = block.extra_tokens
        self.patch_embed = patchifier.build_embed(in_channels, hidden_size)
        if positions == "learned":
            self.positions = nn.Parameter(torch.empty(self.grid[0] * self.grid[1], hidden_size))
        else:
            self.register_buffer("positions", sincos_positions(hidden_size, *self.grid), persistent=False)
        self.time_embed = TimeEmbed(hidden_size, time_frequencies)
        self.label_embed = nn.Embedding(num_classes + null_class, hidden_size)
        self.prefix = block.build_prefix(hidden_size)
        self.blocks = nn.ModuleList(block.build(hidden_size, num_heads) for _ in range(depth))
        self.final = FinalLayer(hidden_size, adaptive=block.adaptive)
        self.head = patchifier.build_head(hidden_size, out_channels)
        self.reset()

    def reset(self) -> None:
        """Initialise every weight; a module with a `reset` of its own has the last word."""
        init_linear(self)
        nn.init.normal_(self.time_embed.fc1.weight, std=0.02)
        nn.init.normal_(self.time_embed.fc2.weight, std=0.02)
        nn.init.normal_(self.label_embed.weight, std=0.02)
        if isinstance(self.positions, nn.Parameter):
            nn.init.normal_(self.positions, std=0.02)
        for module in self.modules():
            reset = getattr(module, "reset", None)
            if module is not self and callable(reset):
                reset()

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Map x (N, C, H, W), network time t (N,) and labels y (N,) int64 to (N, C_out, H, W), at least float32."""
        x = self.patch_embed(x)  # (N, T, D), where T = H W / patch^2
        x = x + self.positions.to(x.dtype)  # (N, T, D)
        time, label = self.time_embed(t), self.label_embed(y)  # (N, D), (N, D)
        if self.prefix is not None:
            x = torch.cat([self.prefix(time, label), x], dim=1)  # (N, extra + T, D)
        for number, block in enumerate(self.blocks, 1):
            again = self.recompute and number % self.recompute == 0 and torch.is_grad_enabled()
            run = partial(checkpoint, block, use_reentrant=False) if again else block
            x = run(x, time, label)  # (N, extra + T, D)
        last = self.final(x[:, self.extra_tokens :], time, label)  # (N, T, D)
        x = self.head(last if isinstance(self.head, LinearHead) else last.value(), self.grid)  # (N, C_out, H, W)
        return x.to(torch.promote_types(x.dtype, torch.float32))


class FinalLayer(nn.Module):
    """The last LayerNorm, deferred: modulated by time + class where the blocks are adaptive, plain elsewhere."""

    def __init__(self, hidden_size: int, *, adaptive: bool) -> None:
        super().__init__()
        self.norm = LayerNorm(hidden_size, affine=not adaptive)
        self.modulation = nn.Linear(hidden_size, 2 * hidden_size) if adaptive else None

    def reset(self) -> None:
        """Zero the modulation."""
        if self.modulation is not None:
            zero_(self.modulation)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Deferred:
        """Normalise x (N, T, D)."""
        normalised = self.norm(x)  # (N, T, D)
        if self.modulation is None:
            return normalised
        shift, scale = self.modulation(F.silu(t + y)).chunk(2, dim=1)  # (N, D), (N, D)
        return modulate(normalised, shift, scale)  # (N, T, D)


def count_parameters(model: nn.Module) -> int:
    """All parameters, the frozen positions included, as the literature counts them."""
    positions = getattr(model, "positions", None)
    frozen = positions.numel() if isinstance(positions, Tensor) and not isinstance(positions, nn.Parameter) else 0
    return sum(p.numel() for p in model.parameters()) + frozen
