"""What a backend gives the training loop: an engine that runs the model and keeps its master weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
    def master(self) -> list[Tensor]:
        """The float32 master weights that this rank owns (whole, or its ZeRO shard), as tensors open to writing."""

    @abstractmethod
    def refresh(self) -> None:
        """Let the forward pass use what stands in the master weights now, as after an optimizer step."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Gather the whole float32 weights by name, from the master weights, on rank 0 (empty on the others)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights and optimizer state of every rank into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote, with the same world size; CheckpointError where it does not fit."""


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
