"""From pixels to tokens and back."""

from __future__ import annotations

from torch import Tensor, nn

from dit_toolkit.nn.deferred import Deferred
from dit_toolkit.nn.layers import Linear, zero_


class ConvEmbed(nn.Module):
    """A convolution with kernel = stride = patch, initialised as the linear layer that it is."""

    def __init__(self, in_channels: int, hidden_size: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, hidden_size, kernel_size=patch, stride=patch)

    def reset(self) -> None:
        """Xavier-uniform on the flattened kernel, bias 0."""
        nn.init.xavier_uniform_(self.proj.weight.view(self.proj.weight.shape[0], -1))
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to (N, T, D), tokens in row-major order."""
        x = self.proj(x.to(self.proj.weight.dtype))  # (N, D, rows, columns)
        return x.flatten(2).transpose(1, 2).contiguous()  # (N, T, D); every block would keep the layout of x


class LinearEmbed(nn.Module):
    """A linear layer on each flattened patch, its pixels in the order (channel, patch row, patch column)."""

    def __init__(self, in_channels: int, hidden_size: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(in_channels * patch[0] * patch[1], hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to (N, T, D), tokens in row-major order."""
        height, width = self.patch
        x = x.unflatten(2, (-1, height)).unflatten(4, (-1, width))  # (N, C, rows, p, columns, p)
        x = x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (N, T, C p p)
        return self.proj(x.to(self.proj.weight.dtype))  # (N, T, D)


class LinearHead(nn.Module):
    """A linear layer per token, its output laid out as (patch row, patch column, channel)."""

    def __init__(self, hidden_size: int, out_channels: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.patch, self.out_channels = patch, out_channels
        self.linear = Linear(hidden_size, patch[0] * patch[1] * out_channels)

    def reset(self) -> None:
        """All zero: the untrained model returns exactly 0."""
        zero_(self.linear)

    def forward(self, x: Tensor | Deferred, grid: tuple[int, int]) -> Tensor:
        """Map x (N, T, D) on a grid of (rows, columns) to (N, C_out, H, W)."""
        (rows, columns), (height, width) = grid, self.patch
        pixels: Tensor = self.linear(x)  # (N, T, p p C)
        pixels = pixels.view(-1, rows, columns, height, width, self.out_channels)  # (N, rows, columns, p, p, C)
        pixels = pixels.permute(0, 5, 1, 3, 2, 4)  # (N, C, rows, p, columns, p)
        return pixels.reshape(-1, self.out_channels, rows * height, columns * width)  # (N, C, H, W)


class ConvTransposeHead(nn.Module):
    """A transposed convolution with kernel = stride = patch: one bias for all the pixels of a channel."""

    def __init__(self, hidden_size: int, out_channels: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(hidden_size, out_channels, kernel_size=patch, stride=patch)

    def reset(self) -> None:
        """All zero: the untrained model returns exactly 0."""
        zero_(self.deconv)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map x (N, T, D) on a grid of (rows, columns) to (N, C_out, H, W)."""
        return self.deconv(x.transpose(1, 2).unflatten(2, grid))  # (N, C, H, W)
