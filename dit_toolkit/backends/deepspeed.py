"""DeepSpeed: ZeRO stages 0 to 3, in float32, bf16 or fp16, on GPUs and on CPUs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen

from dit_toolkit.backends import zero
from dit_toolkit.components import Backend
from dit_toolkit.engine import Engine, Step, infer, sound
from dit_toolkit.errors import NonFiniteError, RecipeError
from dit_toolkit.shards import Shard

if TYPE_CHECKING:
    from attrs import Attribute
    from torch import Tensor, nn, optim

OWNED = {
    "train_batch_size": "train.global_batch_size",
    "train_micro_batch_size_per_gpu": "train.micro_batch_size",
    "gradient_accumulation_steps": "train.micro_batch_size",
    "gradient_clipping": "train.gradient_clipping",
    "optimizer": "train.optimizer",
    "scheduler": "train.lr_schedule",
    "bf16": "train.precision",
    "fp16": "train.precision",
    "zero_optimization.stage": "train.backend.zero_stage",
    "zero_optimization.offload_optimizer": "train.backend.offload",
    "zero_optimization.offload_param": "train.backend.offload",
}
"""Keys of a DeepSpeed configuration that the toolkit sets, and the option that sets them."""


def _free_keys(_: object, attribute: Attribute[Any], config: dict[str, Any]) -> None:
    """Refuse the keys that the toolkit owns."""
    zero = config.get("zero_optimization")
    seen = [*config, *(f"zero_optimization.{key}" for key in (zero if isinstance(zero, dict) else ()))]
    for key in seen:
        if key in OWNED:
            raise ValueError(f"'{attribute.name}' must not set {key!r}, which belongs to {OWNED[key]}")


@frozen(kw_only=True)
class DeepSpeed(Backend):
    """The DeepSpeed engine (Rajbhandari et al. 2020, "ZeRO")."""

    kind = "deepspeed"
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What is sharded over the processes: 0 nothing, 1 optimizer states, 2 gradients too, 3 weights too."""
    offload: Literal["none", "optimizer", "all"] = "none"
    """What waits in the CPU's memory: the optimizer, with its step done there (from stage 1 on), or weights too (3)."""
    config: dict[str, Any] = field(factory=dict, validator=_free_keys)
    """Further keys of a DeepSpeed configuration, passed on as they are."""

    def __attrs_post_init__(self) -> None:
        least = {"none": 0, "optimizer": 1, "all": 3}[self.offload]
        if self.zero_stage < least:
            raise ValueError(f"offload {self.offload!r} needs zero_stage >= {least}, got {self.zero_stage}")

    @property
    def splits_weights(self) -> bool:
        """From stage 1 on the weights of a group are one flat tensor, a piece of it on each process."""
        return self.zero_stage > 0

    def start(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        *,
        precision: Literal["fp32", "bf16", "fp16"],
        gradient_clipping: float,
        micro_batch_size: int,
        accumulation: int,
        device: str,
    ) -> Engine:
        """Initialise DeepSpeed in the process group; RecipeError for fp16 on a CPU."""
        if precision == "fp16" and device == "cpu":
            raise RecipeError("train.precision: DeepSpeed has no 'fp16' on a CPU; use 'bf16' or 'fp32'")
        deepspeed = _import(device)
        config = self._config(precision, gradient_clipping, micro_batch_size, accumulation, device)
        initial = {} if precision == "fp32" else {name: p.detach().clone() for name, p in model.named_parameters()}
        if self.zero_stage == 3:
            zero.gather_by_block(model)
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
        started = DeepSpeedEngine(engine, gradient_clipping)
        if initial:  # DeepSpeed made its masters of the rounded weights, and took an empty step in stage 0.
            zero.begin(engine.optimizer, started.shards(), initial)
        return started

    def _config(
        self, precision: str, gradient_clipping: float, micro_batch_size: int, accumulation: int, device: str
    ) -> dict[str, Any]:
        # At stage 3 DeepSpeed would replace torch's linear for the whole process, without forward-mode differentiation.
        zero: dict[str, Any] = {"memory_efficient_linear": False} if self.zero_stage == 3 else {}
        if device == "cpu":  # The default of 5e8 allocates 2 GB a step, which makes stages 1 and 2 five times slower.
            zero["reduce_bucket_size"] = 1_000_000
            if self.zero_stage == 3:
                zero["stage3_prefetch_bucket_size"] = 1_000_000
            else:
                zero |= {"allgather_bucket_size": 1_000_000, "overlap_comm": False}
        away = {"device": "cpu", "pin_memory": device != "cpu"}
        if self.offload != "none":
            zero["offload_optimizer"] = away
        if self.offload == "all":
            zero["offload_param"] = away
        config = {
            "steps_per_print": 2**31,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            **self.config,
            "train_micro_batch_size_per_gpu": micro_batch_size,
            "gradient_accumulation_steps": accumulation,
            "gradient_clipping": gradient_clipping,  # Its default became 1.0.
            "zero_optimization": {**zero, **self.config.get("zero_optimization", {}), "stage": self.zero_stage},
        }
        if precision == "bf16":
            config["bf16"] = {"enabled": True, "check_grad_overflow": False}
        if precision == "fp16":
            config["fp16"] = {"enabled": True}
        return config


def _import(device: str) -> Any:
    """Import DeepSpeed quietly, without the extension that it would compile on a CPU."""
    import logging
    import os

    if device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")  # It insists.
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed
    from deepspeed import ops
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    if device == "cpu":  # Plain gloo serves, and no compiler is needed.
        ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(
        dist_backend="gloo" if device == "cpu" else "nccl", auto_mpi_discovery=False, verbose=False
    )
    return deepspeed


class DeepSpeedEngine(Engine):
    """The engine behind the toolkit's interface; learning rate and micro-batches are the loop's business."""

    def __init__(self, engine: Any, gradient_clipping: float) -> None:
        self.engine, self.clipping = engine, gradient_clipping
        self._micro = 0
        self._shards = zero.shards(engine)
        self._largest_norm = math.inf
        self._refused = False
        # Each wrapper of DeepSpeed knows the norm when it calls the optimizer within, once for each of its shards.
        for optimizer in (engine.basic_optimizer, getattr(engine.optimizer, "backup_optimizer", None)):
            if optimizer is not None:
                optimizer.step = self._gated(optimizer.step)

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Run the model through the engine."""
        return self.engine(x, t, y)

    def infer(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Run the bare model, past the engine's timers; in stage 3 its hooks gather the weights."""
        return infer(self.engine.module, x, t, y)

    def backward(self, loss: Tensor) -> None:
        """Accumulate; the engine divides by the number of micro-batches."""
        self.engine.backward(loss)
        self._micro += 1
        if self._micro < self.engine.gradient_accumulation_steps():
            self.engine.step()  # Only counts: the boundary is the last micro-batch.

    def step(self, lr: float, largest_norm: float = math.inf) -> Step:
        """Update the weights."""
        self._micro, self._refused, self._largest_norm = 0, False, largest_norm
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        self._norm = self._plain_norm() if self.engine.optimizer is self.engine.basic_optimizer else None
        try:
            self.engine.step()
        except Exception as error:
            if "minimum - cannot decrease scale" in str(error):
                raise NonFiniteError("gradients overflow in fp16 at the smallest loss scale; use 'bf16'") from error
            raise
        norm = self._read_norm()
        return Step(norm if norm >= 0 else math.nan, self.engine.was_step_applied() and not self._refused)

    def _gated(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step of an optimizer, left out where the gradient's norm is not sound."""

        def gated(*arguments: Any, **named: Any) -> Any:
            self._refused = self._refused or not sound(self._read_norm(), self._largest_norm)
            return None if self._refused else step(*arguments, **named)

        return gated

    def _read_norm(self) -> float:
        """Norm of the gradient of this step, -1 or inf where it is not finite."""
        return float(self.engine.optimizer._global_grad_norm if self._norm is None else self._norm)

    def _plain_norm(self) -> float:
        """Norm of the gradients of stage 0 in float32, which has no wrapper."""
        import torch

        grads = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(grads))

    def shards(self) -> Sequence[Shard]:
        """The partitions of DeepSpeed's optimizer, or in stage 0 every parameter whole."""
        return self._shards

    def refresh(self) -> None:
        """Copy the masters of this rank to the weights and gather those of the others, as DeepSpeed's own step does."""
        zero.refresh(self.engine.optimizer)

    def counters(self) -> dict[str, float]:
        """The dynamic loss scale, in fp16."""
        return zero.counters(self.engine.optimizer)

    def set_counters(self, counters: Mapping[str, float]) -> None:
        """Take on the loss scale of another engine."""
        zero.set_counters(self.engine.optimizer, counters)
