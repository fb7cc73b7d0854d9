"""A small convolutional classifier of 28 x 28 grey images; its penultimate features serve the Frechet distance."""

from __future__ import annotations

from torch import Tensor, nn

SIZE = 28
FEATURES = 128


class Classifier(nn.Module):
    """Five 3 x 3 convolutions with batch norm, two of them with stride 2, and a linear head: 0.18 M parameters."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_stage(1, 32, stride=1),  # (N, 32, 28, 28)
            *_stage(32, 48, stride=2),  # (N, 48, 14, 14)
            *_stage(48, 64, stride=1),  # (N, 64, 14, 14)
            *_stage(64, 80, stride=2),  # (N, 80, 7, 7)
            *_stage(80, FEATURES, stride=1),  # (N, 128, 7, 7)
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(FEATURES, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (N, 1, 28, 28) in [0, 1], 0 = black, to logits (N, num_classes) and features (N, 128)."""
        features = self.body(x)  # (N, 128)
        return self.head(self.dropout(features)), features


def _stage(channels_in: int, channels_out: int, stride: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return conv, nn.BatchNorm2d(channels_out), nn.ReLU()
