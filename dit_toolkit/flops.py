"""What a model costs: multiply-adds of one forward pass and bytes of model state, both by formula.

One multiply-add (MAC) is two floating-point operations; the DiT paper's "Gflops" are GMACs. Training costs three
forward passes an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dit_toolkit.recipe.sizes import sizes

if TYPE_CHECKING:
    from dit_toolkit.recipe.schema import Recipe

FREQUENCIES = 256
"""Sinusoids of the timestep embedding."""


def macs(recipe: Recipe) -> dict[str, int]:
    """Multiply-adds of one forward pass for one image, by part; no guidance, no autoencoder.

    With D = hidden_size, T tokens, depth L and the adaLN-Zero block the sum is
    L (12 T D^2 + 2 T^2 D + 6 D^2) + T p^2 C D + (256 D + D^2) + 2 D^2 + T D p^2 C_out,
    which meets the Gflops of Peebles & Xie 2023 (arXiv 2212.09748, table 4) within 0.01 or 0.02 %.
    """
    model, size = recipe.model, sizes(recipe)
    width = model.hidden_size
    parts = {"conditioning": FREQUENCIES * width + width**2}
    if model.block.adaptive:
        parts["modulation"] = 2 * width**2  # of the final layer
    block = model.block.macs(size.tokens + model.block.extra_tokens, width)
    ends = model.patchifier.macs(size.tokens, width, size.latent[0], size.out_channels)
    for count, of in ((model.depth, block), (1, ends)):
        for part, value in of.items():
            parts[part] = parts.get(part, 0) + count * value
    return parts


def memory(parameters: int, *, world: int = 1, precision: Literal["fp32", "bf16", "fp16"] = "fp32") -> dict[int, int]:
    """Bytes of model state on each of `world` processes, by ZeRO stage 0 to 3; activations and buffers come on top.

    After Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3) with Adam and a float32 moving average. A
    parameter takes w bytes of weight and w of gradient (2 in bf16 and fp16, 4 in fp32) and k bytes of optimizer
    state: 4 of float32 master weight, 4 + 4 of Adam's moments, 4 of moving average. For P parameters on N processes:

        stage 0: P (2 w + k)        stage 1: P (2 w + k / N)
        stage 2: P (w + (w + k) / N)        stage 3: P (2 w + k) / N

    In fp32 stage 0 needs no master weights beside the weights; DeepSpeed's stages 1 to 3 keep their shard even so.
    """
    weight = 4 if precision == "fp32" else 2
    state = 16
    shard = -(-parameters // world)
    return {
        0: parameters * (2 * weight + state - (4 if precision == "fp32" else 0)),
        1: parameters * 2 * weight + shard * state,
        2: parameters * weight + shard * (weight + state),
        3: shard * (2 * weight + state),
    }
