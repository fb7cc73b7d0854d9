"""The config.json of diffusers' `DiTTransformer2DModel`, from an architecture and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dit_toolkit.errors import CheckpointError, RecipeError
from dit_toolkit.interop.architecture import Architecture
from dit_toolkit.interop.diffusers.files import VERSION
from dit_toolkit.interop.diffusers.names import LABELS, count_classes
from dit_toolkit.progress import warn

CLASSES = ("DiTTransformer2DModel", "Transformer2DModel")
"""The second is what DiT had in diffusers before 0.28."""
FIXED = {
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "attention_bias": True,
    "only_cross_attention": False,
    "double_self_attention": False,
    "cross_attention_dim": None,
    "num_vector_embeds": None,
}
"""Options that make another network where they have another value."""
LARGEST = 10_000_000
"""Count that any model could have."""
EPSILON = 1e-6
"""Of every normalisation here; of all but one in each block there."""
GELU = {"gelu-approximate": "tanh", "gelu": "exact"}


def config_of(model: Architecture) -> dict[str, Any]:
    """The config.json.

    Raises:
        RecipeError: each option that it has no word for.
    """
    faults = []
    if model.positions != "sincos":
        faults.append(("model.positions", f"{model.positions!r} positions are not part of it; 'sincos' ones are"))
    if model.mlp_ratio != 4:
        faults.append(("model.block.mlp_ratio", f"{model.mlp_ratio} is not 4, which it always has"))
    if faults:
        raise RecipeError.of([(path, f"cannot be exported to diffusers: {text}") for path, text in faults])
    return {
        "_class_name": CLASSES[0],
        "_diffusers_version": VERSION,
        "activation_fn": next(name for name, gelu in GELU.items() if gelu == model.gelu),
        "attention_bias": True,
        "attention_head_dim": model.hidden_size // model.num_heads,
        "dropout": 0.0,
        "in_channels": model.in_channels,
        "norm_elementwise_affine": False,
        "norm_eps": EPSILON,
        "norm_num_groups": 32,
        "norm_type": "ada_norm_zero",
        "num_attention_heads": model.num_heads,
        "num_embeds_ada_norm": model.num_classes,
        "num_layers": model.depth,
        "out_channels": model.out_channels,
        "patch_size": model.patch_size,
        "sample_size": model.input_size,
        "upcast_attention": False,
    }


def architecture_in(config: dict[str, Any], state: dict[str, Tensor], source: str) -> Architecture:
    """Read the architecture off a config, and the number of classes off the weights.

    Raises:
        CheckpointError: it is of another model, or of one that no recipe can describe.
    """
    if config.get("_class_name") not in CLASSES:
        raise CheckpointError(f"{source}: is of the class {config.get('_class_name')!r}, not {CLASSES[0]}")
    others = [f"{key} = {config[key]!r}" for key, value in FIXED.items() if config.get(key, value) != value]
    activation, epsilon = config.get("activation_fn", "gelu-approximate"), config.get("norm_eps", 1e-5)
    if activation not in list(GELU):
        others.append(f"activation_fn = {activation!r}")
    if not isinstance(epsilon, float) or not 0 <= epsilon <= 1e-5:
        others.append(f"norm_eps = {epsilon!r}")
    if others:
        raise CheckpointError(f"{source}: there is no such network here: {', '.join(others)}")
    if epsilon != EPSILON:
        warn(f"{source}: norm_eps is {epsilon:g} in one norm of each block; here it is {EPSILON:g}, as in the paper")
    if config.get("dropout"):
        warn(f"{source}: dropout {config['dropout']} is for training and is left out")
    heads, size, channels, layers, input_size, patch = (
        whole(config, key, source)
        for key in (
            "num_attention_heads",
            "attention_head_dim",
            "in_channels",
            "num_layers",
            "sample_size",
            "patch_size",
        )
    )
    if config.get("out_channels", channels) not in (None, channels, 2 * channels):
        raise CheckpointError(
            f"{source}: out_channels is {config['out_channels']}; {channels} channels need {channels}, or "
            f"{2 * channels} with a learned sigma"
        )
    if LABELS not in state or state[LABELS].ndim != 2 or len(state[LABELS]) < 2:
        raise CheckpointError(
            f"{source}: {LABELS} is missing or no table of classes; it has {', '.join(list(state)[:5])}"
        )
    return Architecture(
        hidden_size=heads * size,
        depth=layers,
        num_heads=heads,
        num_classes=count_classes(state),
        in_channels=channels,
        learn_sigma=config.get("out_channels") == 2 * channels,
        input_size=input_size,
        patch_size=patch,
        gelu="tanh" if GELU[activation] == "tanh" else "exact",
        time_frequencies="diffusers",
    )


def whole(config: dict[str, Any], key: str, source: str) -> int:
    """A count in a config."""
    value = config.get(key)
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise CheckpointError(f"{source}: {key} must be a whole number from 1 to {LARGEST:,}, got {value!r}")
    return value
