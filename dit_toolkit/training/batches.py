"""The micro-batches of a process, made ready by a thread while the model works on those before."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dit_toolkit import distributed
from dit_toolkit.components import Split
from dit_toolkit.random import Generator
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.training.order import Order

AHEAD = 2
"""Micro-batches that are made ready beforehand."""


class Batch(NamedTuple):
    """A micro-batch."""

    positions: np.ndarray
    """(n,), in the order of training."""
    indices: np.ndarray
    """(n,), in the split."""
    x: Tensor
    """(n, C, H, W), on the device."""
    y: Tensor
    """(n,), on the device."""
    generator: Generator
    """Of these positions; what the data drew has been drawn."""


class Batches:
    """Micro-batches by position. They are functions of seed and position, so that reading ahead changes none.

    The thread ends with the `with` block, and its errors come out of `of`.

    Args:
        micro: images of a micro-batch, which divide those of this process in a step.
        ahead: how many micro-batches are made ready beforehand; with 0, each is made when it is asked for.
    """

    def __init__(self, recipe: AnyRecipe, data: Split, micro: int, device: str, *, ahead: int = AHEAD) -> None:
        self.data, self.order, self.seed, self.device = data, Order(recipe.seed, len(data)), recipe.seed, device
        self.size, self.ahead, self.stride = micro, ahead, recipe.train.global_batch_size
        self.share = self.stride // distributed.size()
        self._waited = 0.0
        cuda: Any = torch.cuda
        self._stream = cuda.Stream(device) if torch.device(device).type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: deque[tuple[int, int, Future[tuple[Batch, Any]]]] = deque()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def of(self, position: int) -> Iterator[Batch]:
        """What this process does of the step whose images begin at a position.

        Raises:
            DataError: an item cannot be read.
        """
        first = position + distributed.rank() * self.share
        for start in range(first, first + self.share, self.size):
            began = time.perf_counter()
            batch, ready = self._take(first, start)
            self._waited += time.perf_counter() - began
            if ready is not None:  # The stream that made them is not the one that uses them.
                stream = torch.cuda.current_stream(self.device)
                stream.wait_event(ready)
                for tensor in (batch.x, batch.y, batch.generator.index):
                    tensor.record_stream(stream)
            yield batch

    def waited_share(self, seconds: float) -> float:
        """Share of the `seconds` since it was asked for last that went into waiting for data, the processes' mean."""
        waited, self._waited = self._waited, 0.0
        return distributed.mean(torch.tensor(waited / seconds, dtype=torch.float64, device=self.device))

    def _take(self, first: int, start: int) -> tuple[Batch, Any]:
        if not self.ahead:
            return self._make(start)
        if self._coming and self._coming[0][:2] != (first, start):  # Training went to another position.
            while self._coming:
                self._coming.popleft()[2].cancel()
        while len(self._coming) <= self.ahead:
            step, place = self._after(*self._coming[-1][:2]) if self._coming else (first, start)
            self._coming.append((step, place, self._thread.submit(self._make, place)))
        return self._coming.popleft()[2].result()

    def _after(self, first: int, start: int) -> tuple[int, int]:
        """The step and the micro-batch that follow, unless training goes elsewhere."""
        if start + self.size < first + self.share:
            return first, start + self.size
        return first + self.stride, first + self.stride

    def _make(self, start: int) -> tuple[Batch, Any]:
        """Make a micro-batch, and on a GPU the event after which it is ready."""
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            positions = np.arange(start, start + self.size)
            indices, generator = self.order[positions], Generator(self.seed, "train", positions, self.device)
            x, y = (distributed.to_device(tensor, self.device) for tensor in self.data.batch(indices, generator))
            ready = self._stream and self._stream.record_event()
        return Batch(positions, indices, x, y, generator), ready
