"""What a backend gives the training loop: an engine that runs the model and keeps its master weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dit_toolkit.shards import Shard, pieces

if TYPE_CHECKING:
    from torch import Tensor, nn


class Step(NamedTuple):
    """What one optimizer step did."""

    grad_norm: float
    """Before clipping; nan or inf where the gradient is not finite."""
    applied: bool
    """False where the update was left out: too large a gradient, or one that overflowed under fp16 loss scaling."""


def sound(norm: float, largest_norm: float) -> bool:
    """Whether a gradient of this norm may reach the weights; DeepSpeed says -1 for one that is not finite."""
    return 0 <= norm <= largest_norm and norm < math.inf


class Engine(ABC):
    """A model in training on this process, wrapped by a backend. Every rank calls every method."""

    @abstractmethod
    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Run the forward pass in the precision of the backend."""

    @abstractmethod
    def infer(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Run the forward pass as after training: no dropout, nothing kept for gradients, training left as it was."""

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of one micro-batch's mean loss."""

    @abstractmethod
    def step(self, lr: float, largest_norm: float = math.inf) -> Step:
        """All-reduce, clip, update and zero the gradients: one optimizer step.

        Where the norm of the whole gradient is not finite or above `largest_norm`, weights and optimizer stay as they
        are. Every rank decides alike.
        """

    @abstractmethod
    def shards(self) -> Sequence[Shard]:
        """The float32 master weights that this rank owns, always in the same order, each with its optimizer state.

        All ranks together have every element of every parameter, and may have the same ones.
        """

    @abstractmethod
    def refresh(self) -> None:
        """Let the forward pass use what stands in the master weights now, as after an optimizer step."""

    def master(self) -> list[Tensor]:
        """The float32 master weights that this rank owns, as tensors open to writing."""
        return [shard.master for shard in self.shards()]

    def state(self) -> dict[str, Tensor]:
        """Gather the whole float32 weights by name, from the master weights, on rank 0 (empty on the others)."""
        from dit_toolkit.consolidated import gather

        return gather(list(pieces(self.shards(), self.master())))

    def counters(self) -> dict[str, float]:
        """Numbers that a resumed run needs beside weights and optimizer, such as a loss scale."""
        return {}

    def set_counters(self, counters: Mapping[str, float]) -> None:  # noqa: B027 - most have none
        """Go on from the numbers of another engine; those that mean nothing here are passed over."""


def infer(model: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Run a module in evaluation mode without gradients, and put it back into the mode that it had.

    Not in torch's inference mode, also where the caller is: weights gathered there could not be trained any more.
    """
    import torch

    training = model.training
    model.eval()
    try:
        with torch.inference_mode(False), torch.no_grad():
            output: Tensor = model(x, t, y)
            return output
    finally:
        model.train(training)
