"""Plain PyTorch on one process: the reference for every other backend, and the one to step through in a debugger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from dit_toolkit.components import Backend
from dit_toolkit.engine import Engine, Step, infer, sound
from dit_toolkit.errors import RecipeError
from dit_toolkit.shards import Shard, whole_shards

if TYPE_CHECKING:
    from torch import Tensor, nn, optim


@frozen(kw_only=True)
class Single(Backend):
    """One process, no wrapper; bf16 keeps float32 master weights, as DeepSpeed does."""

    kind = "single"

    def start(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        *,
        precision: Literal["fp32", "bf16", "fp16"],
        gradient_clipping: float,
        micro_batch_size: int,  # noqa: ARG002 - part of the contract
        accumulation: int,
        device: str,  # noqa: ARG002
    ) -> Engine:
        """Make the engine; RecipeError for fp16, whose loss scaling is DeepSpeed's, and for several processes."""
        from dit_toolkit import distributed

        if precision == "fp16":
            raise RecipeError("train.precision: backend 'single' has no 'fp16' (no loss scaling); use 'bf16' or 'fp32'")
        if distributed.size() > 1:
            raise RecipeError(f"train.backend.kind: 'single' is one process, not {distributed.size()}; use 'deepspeed'")
        return SingleEngine(model, optimizer, precision == "bf16", gradient_clipping, accumulation)


class SingleEngine(Engine):
    """Forward, backward, clip, step."""

    def __init__(
        self, model: nn.Module, optimizer: optim.Optimizer, bf16: bool, gradient_clipping: float, accumulation: int
    ) -> None:
        self.model, self.optimizer = model.train(), optimizer
        self.clipping, self.accumulation = gradient_clipping, accumulation
        names, self.params = zip(*model.named_parameters(), strict=True)
        self.masters: tuple[Tensor, ...] = self.params
        if bf16:
            self.masters = tuple(p.detach().clone().requires_grad_() for p in self.params)
            master_of = dict(zip(self.params, self.masters, strict=True))
            for group in optimizer.param_groups:
                group["params"] = [master_of[p] for p in group["params"]]
            model.bfloat16()
        self._shards = whole_shards(zip(names, self.masters, strict=True), optimizer)

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Run the model."""
        return self.model(x, t, y)

    def infer(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Run the model in evaluation mode."""
        return infer(self.model, x, t, y)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of loss / accumulation."""
        (loss / self.accumulation).backward()

    def step(self, lr: float, largest_norm: float = math.inf) -> Step:
        """Clip to the largest norm and step; gradients go to the master weights, the result comes back."""
        import torch

        low = self.masters is not self.params
        for param, master in zip(self.params, self.masters, strict=True) if low else ():
            if param.grad is None or master.grad is None:
                master.grad = None if param.grad is None else param.grad.float()
            else:
                master.grad.copy_(param.grad)  # Into the memory of the last step: new pages cost time.
        norm = torch.nn.utils.get_total_norm([master.grad for master in self.masters if master.grad is not None])
        applied = sound(float(norm), largest_norm)
        if applied:
            if self.clipping:
                torch.nn.utils.clip_grads_with_norm_(self.masters, self.clipping, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.refresh()
        for param in self.params:
            param.grad = None
        return Step(float(norm), applied)

    def shards(self) -> Sequence[Shard]:
        """Every parameter, whole."""
        return self._shards

    def refresh(self) -> None:
        """Round the masters to the weights, where these are others."""
        for param, master in zip(self.params, self.masters, strict=True) if self.masters is not self.params else ():
            param.data.copy_(master.data)
