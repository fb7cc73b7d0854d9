"""Names of weights: ours to those of another system, and back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

Names = dict[str, str]
"""Theirs to ours."""


def weights_and_biases(layers: Mapping[str, str]) -> Names:
    """Names of the weight and the bias of every layer."""
    return {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in layers.items() for part in ("weight", "bias")}


def of_blocks(depth: int, theirs: str, layers: Mapping[str, str]) -> Names:
    """Names of the layers of every block; `theirs` is what comes before its number."""
    return weights_and_biases(
        {f"{theirs}.{n}.{layer}": f"blocks.{n}.{ours}" for n in range(depth) for layer, ours in layers.items()}
    )


def to_ours(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Their tensors by our names."""
    return {ours: state[theirs] for theirs, ours in names.items()}


def to_theirs(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Our tensors by their names."""
    return {theirs: state[ours] for theirs, ours in names.items()}
