"""What a sampler predicts on its way, in few frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from dit_toolkit.images import to_uint8


class Film:
    """A callback of `Trained.sample` that keeps at most twice `limit` predictions, evenly spread, with the first.

    They are kept as images uint8; with more predictions than are kept, every second one is given up again and again.

    Args:
        decode: from predicted data (N, C, h, w) to images (N, C, H, W).
        limit: most frames that `take` gives.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], limit: int) -> None:
        self.decode, self.limit = decode, limit
        self.stride, self.kept = 1, list[np.ndarray]()

    def __call__(self, i: int, n: int | None, x0: Tensor) -> None:
        """Keep what is predicted at evaluation i of at most n, or not."""
        if i == 1 and n:
            self.stride = max(1, n // (2 * self.limit))
        if (i - 1) % self.stride == 0:
            self.kept.append(to_uint8(self.decode(x0).cpu()))
            if len(self.kept) > 2 * self.limit:
                self.kept, self.stride = self.kept[::2], 2 * self.stride

    def take(self, last: np.ndarray) -> np.ndarray:
        """At most `limit` frames (F, N, H, W, 3), the last of which is `last`, the images drawn (N, H, W, 3)."""
        chosen = np.unique(np.linspace(0, len(self.kept) - 1, min(self.limit - 1, len(self.kept))).round().astype(int))
        return np.stack([*(self.kept[i] for i in chosen), last])


def joined(films: list[np.ndarray]) -> np.ndarray:
    """Frames (F, N, H, W, 3) of all images; a film of fewer frames shows some of them longer."""
    length = max(map(len, films))
    return np.concatenate([film[np.linspace(0, len(film) - 1, length).round().astype(int)] for film in films], axis=1)
