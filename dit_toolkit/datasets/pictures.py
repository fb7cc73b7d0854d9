"""What datasets of pictures of any size share: options, and a split that crops and augments as it reads."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le, lt

from dit_toolkit.components import Dataset, Shape
from dit_toolkit.datasets.size import image_size_field, sides
from dit_toolkit.errors import DataError
from dit_toolkit.transforms import centre_crop, random_crop, to_array

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from dit_toolkit.random import Generator

Crop = Literal["centre", "random"]


@frozen(kw_only=True)
class Pictures(Dataset):
    """Pictures that are brought to one size."""

    image_size: int | tuple[int, int] = image_size_field(32)
    """Pixels of a side, or [height, width], to which images of another size are resized and cropped."""
    channels: Literal[1, 3] = 3
    """1 makes the images grey."""
    num_classes: int = field(validator=[ge(1), le(10_000_000)])
    """Held against the data when they are opened, so that a model can be used where its data are not."""
    flip: bool = False
    """Mirror every other training image, at random."""
    val_fraction: float = field(default=0.05, validator=[ge(0), lt(1)])
    """Share of every class that is held out where the data have no split of their own."""

    @property
    def shape(self) -> Shape:
        """(channels, height, width)."""
        return self.channels, *sides(self.image_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The numbers of the classes."""
        return tuple(map(str, range(self.num_classes)))


class PictureSplit(ABC):
    """Pictures by index, and labels int64 (len,); with a generator they may be cropped anywhere, and mirrored."""

    def __init__(self, labels: np.ndarray, shape: Shape, *, crop: Crop = "centre", flip: bool = False) -> None:
        self.labels, self.shape, self.crop, self.flip = labels, shape, crop, flip

    @abstractmethod
    def name(self, index: int) -> str:
        """Name a picture in errors."""

    @abstractmethod
    def picture(self, index: int) -> Image:
        """Read a picture as RGB; DataError where it cannot be read."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Read x (N, C, H, W) float32 in [-1, 1] and y (N,) int64, on a thread for each core.

        Raises:
            DataError: a picture cannot be read or cropped; the message names it.
        """
        import torch

        draws: list[list[float] | None] = [None] * len(indices)
        if generator is not None and self.crop == "random":
            draws = np.stack([generator.rand().cpu().numpy() for _ in range(3)], axis=1).tolist()  # (N, 3)
        run = self._pool.map if self._pool else map
        pixels = np.stack(list(run(self._read, indices.tolist(), draws)))  # (N, C, H, W)
        x = torch.from_numpy(pixels).float().div_(127.5).sub_(1)  # (N, C, H, W)
        if generator is not None and self.flip:
            mirrored = (generator.rand() < 0.5).to(x.device)[:, None, None, None]  # (N, 1, 1, 1)
            x = torch.where(mirrored, x.flip(-1), x)
        return x, torch.from_numpy(self.labels[indices])

    def _read(self, index: int, draws: list[float] | None) -> np.ndarray:
        channels, height, width = self.shape
        picture = self.picture(index)
        try:
            if draws is None:
                return to_array(centre_crop(picture, height, width), channels)
            return to_array(random_crop(picture, height, width, (draws[0], draws[1], draws[2])), channels)
        except ValueError as error:
            raise DataError(f"{self.name(index)}: {error}") from None

    @cached_property
    def _pool(self) -> ThreadPoolExecutor | None:
        threads = cores()
        return ThreadPoolExecutor(threads, thread_name_prefix="images") if threads > 1 else None


def cores() -> int:
    """Cores for this process: those it may use, shared with its neighbours on this machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
