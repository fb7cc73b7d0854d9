"""What happens when a loss or gradient is not finite, or a loss is far above the last ones: stop, skip or roll back."""

from __future__ import annotations

import json
import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dit_toolkit import checkpoint, distributed
from dit_toolkit.engine import Step
from dit_toolkit.errors import NonFiniteError
from dit_toolkit.progress import warn
from dit_toolkit.recipe.schema import Train

WINDOW = 100
"""Last losses whose median says what a loss usually is."""
LEAST = 20
"""Losses from which on that median is trusted."""
SUSPECTS = 8
"""Images of each process that a report names first."""
WEIGHTS = "the weights are not finite"
Action = Literal["none", "skip", "rollback"]


class Faults:
    """Judges every step of a run, alike on all processes, from numbers that they share.

    Its state is three things of which the next steps are a function, kept in the manifest of every checkpoint: how many
    positions of the data were passed over by going back, the faults in a row, and the last losses.
    """

    def __init__(
        self,
        settings: Train,
        folder: Path,
        state: dict[str, Any] | None = None,
        *,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with the state that a checkpoint holds; `settle` waits until the last checkpoint is written."""
        self.settings, self.path, self.settle = settings, folder / "faults.jsonl", settle
        self.goal: Path | None = None
        self.restore(state or {})

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state that a checkpoint holds."""
        self.passed_over: int = state.get("passed_over", 0)
        self.in_a_row: int = state.get("in_a_row", 0)
        self.losses = deque[float](state.get("losses", ()), maxlen=WINDOW)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        losses = list(self.losses) if self.settings.spike_factor else []
        return {"passed_over": self.passed_over, "in_a_row": self.in_a_row, "losses": losses}

    def position(self, step: int) -> int:
        """Position in the data of the first image of the step that follows `step` finished ones."""
        return step * self.settings.global_batch_size + self.passed_over

    def largest_norm(self, loss: float) -> float:
        """Largest gradient norm with which a step of this mean loss may reach the weights; below 0 where none may."""
        return -1.0 if self._bad_loss(loss) else math.inf

    def judge(self, step: int, loss: float, update: Step, weights: Sequence[Tensor] | None, seen: Seen) -> Action:
        """Say what is to be done after a step, and report a fault; with all processes.

        Args:
            step: steps finished, this one among them.
            loss: its mean over all processes.
            update: what the engine did with it.
            weights: those of this process that are about to be saved; none that is not finite ever is.
            seen: what this process took.

        Raises:
            NonFiniteError: the policy is to stop, or the limit is reached, or nothing else is left.
        """
        fault = _bad_weights(weights) or self._bad_loss(loss) or self._bad_update(update)
        if not fault:
            self.losses.append(loss)
            if self.settings.non_finite == "skip" and update.applied:
                self.in_a_row = 0
            return "none"
        self.in_a_row += 1
        action = self._action(fault)
        entry = {"step": step, "fault": fault, "action": action, "loss": loss, "grad_norm": update.grad_norm}
        self._report(entry, seen)
        what = f"step {step}: {fault}; loss {loss:g}, gradient norm {update.grad_norm:g}"
        if action == "stop":
            error = NonFiniteError(
                f"training is no longer sound at {what}",
                f"{self.path} says which images; nothing of it was saved",
                "a lower train.lr, train.gradient_clipping or precision 'fp32' may help; train.non_finite = 'skip' or "
                "'rollback' goes on",
            )
            error.told = distributed.rank() > 0
            raise error
        goal = f"going back to {self.goal.name}" if self.goal else "skipped"
        warn(f"{what}; {goal} ({self.in_a_row} in a row). {self.path} says which images")
        return action

    def _action(self, fault: str) -> Action | Literal["stop"]:
        """The policy, as far as it can be followed: before the first checkpoint there is nothing to go back to."""
        self.goal = None
        if self.settings.non_finite == "stop" or self.in_a_row > self.settings.non_finite_limit:
            return "stop"
        if self.settings.non_finite == "rollback":
            self.settle()
            self.goal = distributed.main_alone(self._last_checkpoint)
        if self.goal:
            return "rollback"
        return "stop" if fault == WEIGHTS else "skip"

    def _last_checkpoint(self) -> Path | None:
        """The newest verified checkpoint, passing over those that only a stop has left: a stop must change nothing."""
        found = checkpoint.checkpoints(self.path.parent / "checkpoints")[::-1]
        every = self.settings.checkpoint_every
        regular = [path for path in found if int(path.name.removeprefix("step-")) % every == 0]
        return next((path for path in [*regular, *found] if not checkpoint.verify(path)), None)

    def roll_back(self, reached: int, load: Callable[[Path], int]) -> int:
        """Load the checkpoint to go back to, and go on with the data behind the step `reached`; returns its step."""
        if self.goal is None:
            raise RuntimeError("nothing to go back to: roll_back() follows a judge() that says so")
        behind, in_a_row = self.position(reached), self.in_a_row
        step = load(self.goal)
        self.restore(checkpoint.read_manifest(self.goal).get("faults", {}))
        self.passed_over = behind - step * self.settings.global_batch_size
        self.in_a_row = in_a_row
        return step

    def saved(self) -> None:
        """Note that there is a checkpoint of the current step, so that going back would not be in vain."""
        if self.settings.non_finite == "rollback":
            self.in_a_row = 0

    def _bad_loss(self, loss: float) -> str:
        if not math.isfinite(loss):
            return "the loss is not finite"
        factor = self.settings.spike_factor
        if factor and len(self.losses) >= LEAST and loss > factor * (usual := statistics.median(self.losses)):
            return f"the loss is {loss / usual:.1f} times the median of the last {len(self.losses)}"
        return ""

    def _bad_update(self, update: Step) -> str:
        if update.applied or (self.settings.precision == "fp16" and not math.isfinite(update.grad_norm)):
            return ""  # In fp16 it is the loss scale that is too large, and it is being lowered.
        return "the gradient is not finite"

    def _report(self, entry: dict[str, Any], seen: Seen) -> None:
        """Append a line to faults.jsonl."""
        ranks = distributed.gather({"rank": distributed.rank(), **seen.describe()})
        if distributed.rank() == 0:
            time = datetime.now(timezone.utc).isoformat(timespec="seconds")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_writable({"time": time, **entry, "ranks": ranks}), allow_nan=False) + "\n")


class Seen:
    """What one process took in one step: indices (n,) of dataset items and their losses (n,), still on the device."""

    def __init__(self) -> None:
        self.items: list[np.ndarray] = []
        self.losses: list[Tensor] = []

    def add(self, items: np.ndarray, losses: Tensor) -> None:
        """Note a micro-batch."""
        self.items.append(items)
        self.losses.append(losses.detach())

    def mean(self) -> Tensor:
        """Mean loss, on the device."""
        return torch.cat(self.losses).mean()

    def describe(self) -> dict[str, Any]:
        """Name the images, those of the largest losses first."""
        items = np.concatenate(self.items)
        losses = torch.cat(self.losses).double().cpu().numpy()
        worst = np.argsort(np.where(np.isfinite(losses), -losses, -np.inf), kind="stable")[:SUSPECTS]
        return {
            "loss": float(losses.mean()),
            "suspects": [{"index": int(items[i]), "loss": float(losses[i])} for i in worst],
            "indices": items.tolist(),
        }


def _bad_weights(weights: Sequence[Tensor] | None) -> str:
    """What is wrong with the weights of any process."""
    if weights is None:
        return ""
    norms = torch._foreach_norm([tensor for tensor in weights if tensor.numel()], math.inf)
    return WEIGHTS if distributed.any_of(not all(bool(norm.isfinite()) for norm in norms)) else ""


def _writable(value: Any) -> Any:
    """The value with strings in place of the numbers that JSON has not."""
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
