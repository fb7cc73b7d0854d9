"""Inception-v3 (Szegedy et al. 2016) as the FID knows it: the TensorFlow graph of 2015-12-05.

It departs from the paper: average pools do not count their padding, the last block pools by maximum, there are 1,008
classes. The names of the weights are those of the files of torch-fidelity and pytorch-fid, which converted them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 299
FEATURES, CLASSES = 2_048, 1_008
SPATIAL = 7
"""Channels of the spatial layer that sFID takes (Nash et al. 2021): 17 x 17 x 7 = 2,023 numbers."""


class Conv(NamedTuple):
    """A convolution without bias, batch normalisation and ReLU; padded to keep the size unless its stride is 2."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


Branch = tuple[Conv | tuple[Conv, Conv], ...]
"""Convolutions one after the other; of a pair both see the same, and their outputs stand side by side."""
Pool = Literal["average", "maximum", "reducing"]


def _a(pool: int) -> tuple[list[Branch], Pool, int]:
    """35 x 35."""
    fives = (Conv("5x5_1", 48), Conv("5x5_2", 64, (5, 5)))
    threes = (Conv("3x3dbl_1", 64), Conv("3x3dbl_2", 96, (3, 3)), Conv("3x3dbl_3", 96, (3, 3)))
    return [(Conv("1x1", 64),), fives, threes], "average", pool


def _c(width: int) -> tuple[list[Branch], Pool, int]:
    """17 x 17, with 7 x 7 convolutions as pairs of rows and columns."""
    across, down = (1, 7), (7, 1)
    single = (Conv("7x7_1", width), Conv("7x7_2", width, across), Conv("7x7_3", 192, down))
    double = (
        *(Conv("7x7dbl_1", width), Conv("7x7dbl_2", width, down), Conv("7x7dbl_3", width, across)),
        *(Conv("7x7dbl_4", width, down), Conv("7x7dbl_5", 192, across)),
    )
    return [(Conv("1x1", 192),), single, double], "average", 192


def _e(pool: Pool) -> tuple[list[Branch], Pool, int]:
    """8 x 8."""
    across, down = (1, 3), (3, 1)
    single = (Conv("3x3_1", 384), (Conv("3x3_2a", 384, across), Conv("3x3_2b", 384, down)))
    last = (Conv("3x3dbl_3a", 384, across), Conv("3x3dbl_3b", 384, down))
    return [(Conv("1x1", 320),), single, (Conv("3x3dbl_1", 448), Conv("3x3dbl_2", 384, (3, 3)), last)], pool, 192


STEM = (
    Conv("Conv2d_1a_3x3", 32, (3, 3), 2),
    Conv("Conv2d_2a_3x3", 32, (3, 3), padded=False),
    Conv("Conv2d_2b_3x3", 64, (3, 3)),
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, (3, 3), padded=False),
)
POOLED = {"Conv2d_2b_3x3", "Conv2d_4a_3x3"}
"""Convolutions after which the stem takes the maximum of every 3 x 3, in steps of two."""
BLOCKS: dict[str, tuple[list[Branch], Pool, int]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": (
        [
            (Conv("3x3", 384, (3, 3), 2),),
            (Conv("3x3dbl_1", 64), Conv("3x3dbl_2", 96, (3, 3)), Conv("3x3dbl_3", 96, (3, 3), 2)),
        ],
        "reducing",
        0,
    ),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": (
        [
            (Conv("3x3_1", 192), Conv("3x3_2", 320, (3, 3), 2)),
            (
                *(Conv("7x7x3_1", 192), Conv("7x7x3_2", 192, (1, 7)), Conv("7x7x3_3", 192, (7, 1))),
                Conv("7x7x3_4", 192, (3, 3), 2),
            ),
        ],
        "reducing",
        0,
    ),
    "Mixed_7b": _e("average"),
    "Mixed_7c": _e("maximum"),
}
SPATIAL_BLOCK = "Mixed_6d"
"""`mixed_6` of the graph, which counts its blocks from `mixed`, our Mixed_5b."""


class Inception(nn.Module):
    """Images uint8 (N, 3, H, W) to what the metrics compare."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for conv in STEM:
            self.add_module(conv.name, _layer(channels, conv))
            channels = conv.channels
        for name, (branches, pool, width) in BLOCKS.items():
            block = Mixed(channels, branches, pool, width)
            self.add_module(name, block)
            channels = block.channels
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give "features" (N, 2048), "logits" (N, 1008) without their bias, and "spatial" (N, 2023), channels last."""
        x = resize(images.float(), SIZE)  # (N, 3, 299, 299)
        x = (x - 128) / 128
        for conv in STEM:
            x = self.get_submodule(conv.name)(x)
            if conv.name in POOLED:
                x = F.max_pool2d(x, 3, 2)  # (N, 64, 73, 73), then (N, 192, 35, 35)
        spatial = x
        for name in BLOCKS:
            block = self.get_submodule(name)
            if name == SPATIAL_BLOCK:
                spatial = block.get_submodule("branch1x1")(x)[:, :SPATIAL]  # (N, 7, 17, 17)
            x = block(x)  # (N, 288, 35, 35), (N, 768, 17, 17), (N, 2048, 8, 8)
        features = x.mean((2, 3))  # (N, 2048)
        return {
            "features": features,
            "logits": features @ self.fc.weight.T,  # (N, 1008)
            "spatial": spatial.permute(0, 2, 3, 1).flatten(1),  # (N, 2023)
        }


class Mixed(nn.Module):
    """Branches side by side, the last of which pools; its convolution is left out where the block reduces the size."""

    def __init__(self, channels: int, branches: list[Branch], pool: Pool, width: int) -> None:
        super().__init__()
        self.branches, self.pool, self.channels = branches, pool, width or channels
        for branch in branches:
            seen = channels
            for step in branch:
                convs = (step,) if isinstance(step, Conv) else step
                for conv in convs:
                    self.add_module(f"branch{conv.name}", _layer(seen, conv))
                seen = sum(conv.channels for conv in convs)
            self.channels += seen
        if width:
            self.branch_pool = _layer(channels, Conv("pool", width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels, H, W), or half the size where it reduces."""
        return torch.cat([*(self._run(branch, x) for branch in self.branches), self._pooled(x)], 1)

    def _run(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            convs = (step,) if isinstance(step, Conv) else step
            x = torch.cat([self.get_submodule(f"branch{conv.name}")(x) for conv in convs], 1)
        return x

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "reducing":
            return F.max_pool2d(x, 3, 2)
        if self.pool == "maximum":
            x = F.max_pool2d(x, 3, 1, padding=1)
        else:
            x = F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
        pooled: Tensor = self.branch_pool(x)
        return pooled


def resize(x: Tensor, size: int) -> Tensor:
    """Resize (N, C, H, W) to size x size as TensorFlow 1 does: linear between the two nearest, pixel i from i H / size.

    Neither corners nor centres are aligned, which `torch.nn.functional.interpolate` cannot do.
    """
    for axis in (2, 3):
        length = x.shape[axis]
        position = torch.arange(size, dtype=torch.float32, device=x.device) * (length / size)
        low = position.long()
        high = (low + 1).clamp_max(length - 1)
        part = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        below, above = x.index_select(axis, low), x.index_select(axis, high)
        x = below + (above - below) * part
    return x


def _layer(channels: int, conv: Conv) -> nn.Sequential:
    """A convolution of `channels`, its normalisation, and ReLU."""
    padding = (conv.kernel[0] // 2, conv.kernel[1] // 2) if conv.padded and conv.stride == 1 else 0
    layer = nn.Sequential()
    layer.add_module("conv", nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, padding, bias=False))
    layer.add_module("bn", nn.BatchNorm2d(conv.channels, eps=1e-3))
    layer.add_module("relu", nn.ReLU(inplace=True))
    return layer
