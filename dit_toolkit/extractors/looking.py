"""How networks of torch look at images: some at a time, and in float32 throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor


@frozen
class Looking:
    """A network looking at images, some at a time, in float32 throughout."""

    model: Callable[[Tensor], Mapping[str, Tensor]]
    """uint8 (N, 3, H, W) to outputs by name, each (N, D)."""
    device: str
    batch_size: int

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Look at images uint8 (N, H, W, 3)."""
        import torch

        found: dict[str, list[np.ndarray]] = {}
        with torch.inference_mode(), exact():
            for start in range(0, len(images), self.batch_size):
                part = torch.tensor(
                    images[start : start + self.batch_size]
                )  # a copy: memory-mapped images are read-only
                outputs = self.model(part.to(self.device).permute(0, 3, 1, 2))
                for name, values in outputs.items():
                    found.setdefault(name, []).append(values.float().cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}


@contextmanager
def exact() -> Iterator[None]:
    """Products in float32 and not in TF32, which would round features to ten bits."""
    import torch

    settings: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [setting.allow_tf32 for setting in settings]
    for setting in settings:
        setting.allow_tf32 = False
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value
