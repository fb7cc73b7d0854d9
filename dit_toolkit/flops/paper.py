"""The models of the DiT paper and their published compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dit_toolkit.components import Shape

if TYPE_CHECKING:
    from dit_toolkit.recipe.schema import Model

SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16), "2B": (30, 2048, 16)}
"""Depth, hidden size and heads: S to XL as Peebles & Xie 2023 (table 1), 2B as the Cerebras modelzoo."""

GFLOPS = {
    ("S", 8, 32, "adaln-zero"): 0.36,
    ("S", 4, 32, "adaln-zero"): 1.41,
    ("S", 2, 32, "adaln-zero"): 6.06,
    ("B", 8, 32, "adaln-zero"): 1.42,
    ("B", 4, 32, "adaln-zero"): 5.56,
    ("B", 2, 32, "adaln-zero"): 23.01,
    ("L", 8, 32, "adaln-zero"): 5.01,
    ("L", 4, 32, "adaln-zero"): 19.70,
    ("L", 2, 32, "adaln-zero"): 80.71,
    ("XL", 8, 32, "adaln-zero"): 7.39,
    ("XL", 4, 32, "adaln-zero"): 29.05,
    ("XL", 2, 32, "adaln-zero"): 118.64,
    ("XL", 2, 32, "in-context"): 119.37,
    ("XL", 2, 32, "cross-attention"): 137.62,
    ("XL", 2, 32, "adaln"): 118.56,
    ("XL", 2, 64, "adaln-zero"): 524.60,
}
"""What the paper calls Gflops, by size, patch, side of the latent and block (arXiv 2212.09748, table 4)."""


def paper_gmacs(model: Model, latent: Shape, out_channels: int) -> float | None:
    """GMACs that the paper publishes for a model, under the name Gflops; None where it is not one of the paper's."""
    channels, height, width = latent
    shape = (model.depth, model.hidden_size, model.num_heads)
    name = next((name for name, size in SIZES.items() if size == shape), "")
    patch = model.patchifier.patch
    if patch[0] != patch[1] or height != width or (channels, out_channels) != (4, 8):
        return None
    if getattr(model.block, "mlp_ratio", 4.0) != 4.0:
        return None
    return GFLOPS.get((name, patch[0], height, model.block.kind))
