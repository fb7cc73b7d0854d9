"""Forward passes that every process makes as often as it needs to, also of weights that are spread over all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dit_toolkit import distributed, stop
from dit_toolkit.components import Shape
from dit_toolkit.sampling import Network

_DONE, _BUSY, _STOP = range(3)


class Stopped(Exception):
    """The stop flag is set on some process; raised on all of them at the same pass."""


@contextmanager
def lockstep(network: Network, shape: Shape, device: str) -> Iterator[Network]:
    """Hand out `network` so that all processes run it equally often: those that are done run along on zeros (C, H, W).

    In ZeRO stage 3 a pass gathers its weights from all processes, and one that made fewer would leave the others
    waiting. Nothing else may be exchanged inside the block. It ends when all processes have come to its end.

    Raises:
        Stopped: at a pass, or at the end.
    """

    def one_more(state: int) -> bool:
        found = distributed.highest(_STOP if stop.requested() else state)
        if found == _STOP:
            raise Stopped
        return found == _BUSY

    def run(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        one_more(_BUSY)
        return network(x, t, y)

    yield run
    idle = torch.zeros(1, *shape, device=device), torch.zeros(1, device=device)
    while one_more(_DONE):
        network(*idle, torch.zeros(1, dtype=torch.int64, device=device))
