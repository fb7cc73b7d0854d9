"""The layout of the DiT paper's release: `DiT-XL-2-256x256.pt`, or a training checkpoint {model, ema, opt, args}."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_toolkit.errors import CheckpointError, RecipeError
from dit_toolkit.interop.architecture import Architecture
from dit_toolkit.interop.foreign import Foreign, Kind, State
from dit_toolkit.interop.names import Names, of_blocks, to_ours, to_theirs, weights_and_biases
from dit_toolkit.interop.pickled import read_pickled
from dit_toolkit.nn.embed import sincos_positions

HEADS = {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1152, 28): 16, (2048, 30): 16}
"""Of the sizes S, B, L, XL and 2B, by width and depth."""
OUTSIDE = {
    "x_embedder.proj": "patch_embed.proj",
    "t_embedder.mlp.0": "time_embed.fc1",
    "t_embedder.mlp.2": "time_embed.fc2",
    "final_layer.adaLN_modulation.1": "final.modulation",
    "final_layer.linear": "head.linear",
}
INSIDE = {
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "adaLN_modulation.1": "modulation",
}
LABELS = "y_embedder.embedding_table.weight"
POSITIONS = "pos_embed"


def names(depth: int) -> Names:
    """All names but that of the positions, which are no weight of ours unless they are learned."""
    return {**weights_and_biases(OUTSIDE), LABELS: "label_embed.weight", **of_blocks(depth, "blocks", INSIDE)}


def read(path: Path, *, num_heads: int | None, kind: Kind | None) -> Foreign:
    """Read a file.

    Raises:
        CheckpointError: it cannot be read, or is of another architecture.
        RecipeError: it does not say how many heads there are.
    """
    state, kind = _read_state(path, kind)
    return foreign(state, kind, num_heads, str(path), [path])


def foreign(state: State, kind: Kind, num_heads: int | None, source: str, files: list[Path]) -> Foreign:
    """What weights in this layout are, with the sampling of the DiT paper."""
    model = infer(state, num_heads, source)
    channels = {"cfg_channels": 3} if model.in_channels == 4 else {}
    variance = {} if model.learn_sigma else {"variance": "fixed-small"}
    sampler = {"kind": "ddpm", "num_steps": 250, **variance}
    return Foreign(
        model=model,
        state=state,
        from_ours=partial(from_ours, model=model),
        from_theirs=partial(from_theirs, model=model),
        kind=kind,
        files=files,
        objective={"kind": "ddpm"},
        sample={"num_samples": 50_000, "cfg_scale": 1.5, **channels, "sampler": sampler},
    )


def _read_state(path: Path, kind: Kind | None) -> tuple[State, Kind]:
    """The weights of a file; of a training checkpoint the averaged ones unless `kind` says "raw"."""
    found: Any = read_pickled(path)
    if isinstance(found, dict) and any(isinstance(found.get(key), dict) for key in ("ema", "model")):
        kind = kind or ("ema" if isinstance(found.get("ema"), dict) else "raw")
        key = "ema" if kind == "ema" else "model"
        if not isinstance(found.get(key), dict):
            raise CheckpointError(f"{path}: has no {key!r} in it, which holds the {kind} weights")
        found = found[key]
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{path}: holds no weights by name, but {type(found).__name__}")
    others = [
        str(key) for key, value in found.items() if not isinstance(value, Tensor) or not value.is_floating_point()
    ]
    if others:
        raise CheckpointError(f"{path}: not all of it are tensors of weights: {', '.join(others[:20])}")
    return {str(key): value for key, value in found.items()}, kind or "ema"


def infer(state: State, num_heads: int | None, source: str) -> Architecture:
    """Infer the architecture from shapes; the number of heads, which leaves no trace in them, from the size.

    Raises:
        CheckpointError: these are weights of something else.
        RecipeError: the number of heads is not known.
    """
    embed = _shape(state, "x_embedder.proj.weight", 4, source)
    labels = _shape(state, LABELS, 2, source)
    positions = _shape(state, POSITIONS, 3, source)
    mlp = _shape(state, "blocks.0.mlp.fc1.weight", 2, source)
    head = _shape(state, "final_layer.linear.weight", 2, source)
    hidden, channels, patch, width = embed
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    side = math.isqrt(positions[1])
    if patch != width:
        raise CheckpointError(f"{source}: patches of {patch} x {width} are not square")
    if side**2 != positions[1]:
        raise CheckpointError(f"{source}: {POSITIONS} has {positions[1]} tokens, which make no square")
    if head[0] not in (patch**2 * channels, 2 * patch**2 * channels):
        raise CheckpointError(
            f"{source}: the last layer has {head[0]} outputs; {patch} x {patch} pixels of {channels} channels need "
            f"{patch**2 * channels}, or {2 * patch**2 * channels} with a learned sigma"
        )
    if positions[2] != hidden:
        raise CheckpointError(f"{source}: {POSITIONS} has {positions[2]} channels, the model {hidden}")
    num_heads = num_heads or HEADS.get((hidden, depth))
    if num_heads is None:
        raise RecipeError(
            f"{source}: {depth} blocks of width {hidden} are not one of the paper's sizes; say how many attention "
            "heads they have with --num-heads"
        )
    return Architecture(
        hidden_size=hidden,
        depth=depth,
        num_heads=num_heads,
        num_classes=labels[0] - 1,
        in_channels=channels,
        learn_sigma=head[0] == 2 * patch**2 * channels,
        input_size=side * patch,
        patch_size=patch,
        mlp_ratio=mlp[0] / hidden,
        positions="sincos" if _fixed(state[POSITIONS], side) else "learned",
    )


def _fixed(table: Tensor, side: int) -> bool:
    """Whether positions (1, T, D) are the sine-cosine ones, within the rounding of their type."""
    if table.shape[-1] % 4:
        return False
    expected = sincos_positions(table.shape[-1], side, side)
    tolerance = max(1e-5, torch.finfo(table.dtype).eps)
    return float((table[0].float() - expected).abs().max()) <= tolerance


def _shape(state: State, key: str, dimensions: int, source: str) -> tuple[int, ...]:
    """Shape of a weight that tells a size."""
    if key not in state or state[key].ndim != dimensions or not state[key].numel():
        found = f"is {tuple(state[key].shape)}" if key in state else "is missing"
        some = ", ".join(list(state)[:5])
        raise CheckpointError(f"{source}: is no DiT of facebookresearch: {key} {found}; it has {some}, ...")
    return tuple(state[key].shape)


def from_theirs(state: State, model: Architecture) -> State:
    """Our weights from theirs."""
    ours = to_ours(state, names(model.depth))
    if model.positions == "learned":
        ours["positions"] = state[POSITIONS][0]
    return ours


def from_ours(state: State, model: Architecture) -> State:
    """Their weights from our plain ones (see `architecture.plain`)."""
    side = model.input_size // model.patch_size
    table = state["positions"] if model.positions == "learned" else sincos_positions(model.hidden_size, side, side)
    return {POSITIONS: table[None], **to_theirs(state, names(model.depth))}
