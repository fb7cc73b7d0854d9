"""A model of another system as it was read, before it becomes ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from attrs import frozen
from torch import Tensor

from dit_toolkit.interop.architecture import Architecture

State = dict[str, Tensor]
Kind = Literal["ema", "raw"]
"""Weights that other systems keep."""


@frozen(kw_only=True)
class Foreign:
    """Weights by the names of another system, and what is known of them."""

    model: Architecture
    state: State
    from_ours: Callable[[State], State]
    """Our plain weights (see `architecture.plain`) as that system has them."""
    from_theirs: Callable[[State], State]
    """The inverse, for weights of which names and shapes are right."""
    kind: Kind
    files: list[Path]
    """Which hold the weights."""
    autoencoder: Path | None = None
    """Its folder, where one came with the model."""
    objective: dict[str, Any]
    sample: dict[str, Any]
    """Tables of the recipe."""
