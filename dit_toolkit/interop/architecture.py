"""The network that other systems call DiT: what our recipes must say to be one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.errors import RecipeError
from dit_toolkit.nn.embed import TimeEmbed
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.patchifiers.conv import Conv
from dit_toolkit.patchifiers.linear import Linear
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes


@frozen(kw_only=True)
class Architecture:
    """An adaLN-Zero DiT on square inputs with square patches, a convolution before it and a linear layer after it."""

    hidden_size: int
    depth: int
    num_heads: int
    num_classes: int
    """Without the null class, which it always has."""
    in_channels: int
    learn_sigma: bool
    input_size: int
    """Pixels of a side of the model's input."""
    patch_size: int
    mlp_ratio: float = 4.0
    gelu: Literal["tanh", "exact"] = "tanh"
    positions: Literal["sincos", "learned"] = "sincos"
    time_frequencies: Literal["paper", "diffusers"] = "paper"

    @property
    def out_channels(self) -> int:
        """Noise, and the variance where it is learnt."""
        return self.in_channels * (1 + self.learn_sigma)

    @property
    def model(self) -> dict[str, Any]:
        """The [model] table."""
        block = {"kind": "adaln-zero", "mlp_ratio": self.mlp_ratio, "gelu": self.gelu}
        return {
            "hidden_size": self.hidden_size,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "num_classes": self.num_classes,
            "positions": self.positions,
            "time_frequencies": self.time_frequencies,
            "patchifier": {"kind": "conv", "patch_size": self.patch_size},
            "block": block,
        }


def architecture_of(recipe: Recipe, *, any_schedule: bool) -> Architecture:
    """Read the architecture off a recipe.

    Args:
        any_schedule: whether the format says which noise schedule it is, or always means the paper's.

    Raises:
        RecipeError: each option that the formats of other systems cannot express.
    """
    model, size = recipe.model, sizes(recipe)
    block: Any = model.block
    patchifier, objective = model.patchifier, recipe.objective
    faults = []
    if type(block) is not AdaLNZero:
        faults.append(("model.block.kind", f"{block.kind!r} blocks are not part of it; 'adaln-zero' ones are"))
    elif block.qk_norm:
        faults.append(("model.block.qk_norm", "normalised queries and keys are not part of it"))
    if type(patchifier) not in (Conv, Linear):
        faults.append(("model.patchifier.kind", f"{patchifier.kind!r} is not part of it; 'conv' and 'linear' are"))
    if patchifier.patch[0] != patchifier.patch[1]:
        faults.append(("model.patchifier.patch_size", "{} x {} is not square".format(*patchifier.patch)))
    if size.latent[1] != size.latent[2]:
        faults.append(("dataset", "inputs of {} x {} are not square".format(*size.latent[1:])))
    if not model.class_dropout_prob:
        faults.append(("model.class_dropout_prob", "0 leaves out the null class, which these models have"))
    if type(objective) is not DDPM:
        faults.append(("objective.kind", f"{objective.kind!r} is not what these models learn; 'ddpm' is"))
    elif objective.target != "epsilon":
        faults.append(("objective.target", f"{objective.target!r} is not what these models return; 'epsilon' is"))
    elif any_schedule and (
        objective.trained_betas is not None or objective.beta_schedule in ("sigmoid", "scaled-linear")
    ):
        faults.append(
            ("objective", "its noise schedule has no name in this format; 'linear' and 'squared-cosine' have")
        )
    elif not any_schedule and not np.array_equal(objective.betas, DDPM().betas):
        faults.append(("objective", "its noise schedule is not the linear one of 1000 steps, which this format means"))
    if faults:
        raise RecipeError.of([(path, f"cannot be exported to this format: {text}") for path, text in faults])
    return Architecture(
        hidden_size=model.hidden_size,
        depth=model.depth,
        num_heads=model.num_heads,
        num_classes=model.num_classes,
        in_channels=size.latent[0],
        learn_sigma=size.out_channels != size.latent[0],
        input_size=size.latent[1],
        patch_size=patchifier.patch[0],
        mlp_ratio=block.mlp_ratio,
        gelu=block.gelu,
        positions=model.positions,
        time_frequencies=model.time_frequencies,
    )


def plain(state: dict[str, Tensor], model: Architecture) -> dict[str, Tensor]:
    """Our weights as those of a convolution and of a linear head, whatever patchifier they were trained with."""
    state, patch = dict(state), model.patch_size
    embed = state["patch_embed.proj.weight"]
    state["patch_embed.proj.weight"] = embed.reshape(model.hidden_size, model.in_channels, patch, patch)
    if "head.deconv.weight" in state:
        weight, bias = state.pop("head.deconv.weight"), state.pop("head.deconv.bias")  # (D, C, p, p), (C,)
        state["head.linear.weight"] = weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()  # (p p C, D)
        state["head.linear.bias"] = bias.repeat(patch * patch)  # (p p C,)
    return state


def time_difference(state: dict[str, Tensor]) -> float:
    """Largest relative difference, over 1000 timesteps, that the frequencies make to the embedding of the time."""
    found = []
    for frequencies in ("paper", "diffusers"):
        embed = TimeEmbed(len(state["time_embed.fc2.bias"]), frequencies)
        embed.load_state_dict({name: state[f"time_embed.{name}"] for name in embed.state_dict()})
        with torch.inference_mode():
            found.append(embed(torch.arange(1000)))  # (1000, D)
    difference = (found[1] - found[0]).norm(dim=1) / found[0].norm(dim=1)
    return float(difference.max())
