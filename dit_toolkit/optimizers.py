"""From a recipe to its optimizer: parameter groups, and what each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from attrs import frozen
from torch import nn, optim

from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.schema import Optimizer

Rule = Literal["adamw", "adam", "adamw-8bit", "muon"]

MOMENTUM = 0.95
"""Of Muon (Jordan et al. 2024), unless given."""
MOMENTS = {"adamw": 8, "adam": 8, "muon": 4}
"""Bytes of optimizer state for each parameter, beside master weights: two float32 moments, or one."""
BLOCK = 256
"""Numbers that share a float32 scale in 8 bits (Dettmers et al. 2022, "8-bit optimizers")."""
SMALLEST = 4096
"""Parameters of fewer numbers keep float32 moments."""


@frozen(kw_only=True)
class Group:
    """Parameters that are treated alike."""

    rule: Rule
    weight_decay: float
    parameters: dict[str, nn.Parameter]
    """By name, in the order of the model."""

    @property
    def count(self) -> int:
        """How many numbers there are in its parameters."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def moments(self) -> int:
        """Bytes of optimizer state, beside the master weights."""
        if self.rule != "adamw-8bit":
            return MOMENTS[self.rule] * self.count
        sizes = [parameter.numel() for parameter in self.parameters.values()]
        return sum(2 * n + 8 * -(-n // BLOCK) if n >= SMALLEST else 8 * n for n in sizes)

    def as_dict(self) -> dict[str, Any]:
        """Give what it is under names for JSON."""
        tensors, count = len(self.parameters), self.count
        return {"rule": self.rule, "weight_decay": self.weight_decay, "tensors": tensors, "parameters": count}


def parameter_groups(model: nn.Module, settings: Optimizer) -> list[Group]:
    """Sort the trainable parameters of a network by the rule that moves them and by their weight decay.

    Matrices are parameters of two or more axes, without embedding tables and learned positions. Muon takes those of
    exactly two in `model.blocks`; AdamW takes the rest.
    """
    groups: dict[tuple[Rule, float], dict[str, nn.Parameter]] = {}
    for name, parameter, matrix in _parameters(model):
        muon = settings.kind == "muon" and matrix and parameter.ndim == 2 and name.startswith("blocks.")
        rule: Rule = "adamw" if settings.kind == "muon" and not muon else settings.kind
        decay = settings.weight_decay if matrix or settings.weight_decay_on == "all" else 0.0
        groups.setdefault((rule, decay), {})[name] = parameter
    return [Group(rule=rule, weight_decay=decay, parameters=found) for (rule, decay), found in groups.items()]


def build_optimizer(model: nn.Module, settings: Optimizer) -> optim.Optimizer:
    """Make the optimizer of a network; its learning rate is set before each step.

    Raises:
        RecipeError: the library of an 8-bit optimizer is not installed.
    """
    groups = parameter_groups(model, settings)
    adam: list[dict[str, Any]] = [_options(group) for group in groups if group.rule != "muon"]
    muon = [_options(group) for group in groups if group.rule == "muon"]
    common: dict[str, Any] = {"betas": settings.betas, "eps": settings.eps}
    if settings.kind == "adam":
        return optim.Adam(adam, **common, fused=True)
    if settings.kind == "adamw-8bit":
        return _adamw_8bit()(adam, **common, min_8bit_size=SMALLEST)
    adamw = optim.AdamW(adam, **common, fused=True)
    if settings.kind == "adamw" or not muon:
        return adamw
    momentum = MOMENTUM if settings.momentum is None else settings.momentum
    # With the RMS of its update that of AdamW's, one learning rate serves both (Liu et al. 2025, arXiv 2502.16982).
    return Together(optim.Muon(muon, momentum=momentum, adjust_lr_fn="match_rms_adamw"), adamw)


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Name every trainable parameter, and say whether it is a matrix."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    tables.add(id(getattr(model, "positions", None)))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, parameter, parameter.ndim >= 2 and id(parameter) not in tables


def _adamw_8bit() -> Callable[..., optim.Optimizer]:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise RecipeError(
            f"train.optimizer.kind: 'adamw-8bit' needs bitsandbytes ({error}): pip install \"dit-toolkit[8bit]\""
        ) from error
    found: Callable[..., optim.Optimizer] = AdamW8bit
    return found


def _options(group: Group) -> dict[str, Any]:
    return {"params": list(group.parameters.values()), "weight_decay": group.weight_decay}


class Together(optim.Optimizer):
    """Optimizers of different parameters as one, which step one after the other."""

    def __init__(self, *parts: optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.defaults = {key: value for part in parts for key, value in part.defaults.items()}
        self._link()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - part of the contract
        """Step with every part."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._link()

    def _link(self) -> None:
        """Let the parts work on the groups and the state of the whole."""
        first = 0
        for part in self.parts:
            last = first + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[first:last], self.state
            first = last
