"""The weights of diffusers' `DiTTransformer2DModel`, from ours and back."""

from __future__ import annotations

import torch
from torch import Tensor

from dit_toolkit.errors import CheckpointError
from dit_toolkit.interop.architecture import Architecture
from dit_toolkit.interop.names import Names, of_blocks, to_ours, to_theirs, weights_and_biases

OUTSIDE = {"pos_embed.proj": "patch_embed.proj", "proj_out_1": "final.modulation", "proj_out_2": "head.linear"}
INSIDE = {
    "norm1.linear": "modulation",
    "attn1.to_out.0": "attention.proj",
    "ff.net.0.proj": "mlp.fc1",
    "ff.net.2": "mlp.fc2",
}
EMBEDDERS = {
    "timestep_embedder.linear_1.weight": "time_embed.fc1.weight",
    "timestep_embedder.linear_1.bias": "time_embed.fc1.bias",
    "timestep_embedder.linear_2.weight": "time_embed.fc2.weight",
    "timestep_embedder.linear_2.bias": "time_embed.fc2.bias",
    "class_embedder.embedding_table.weight": "label_embed.weight",
}
"""Every block has its own there, and all are one here."""
QKV = ("to_q", "to_k", "to_v")
LABELS = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"


def names(depth: int) -> Names:
    """The names that stand for one weight of ours each; those of the embedders and of attention's input do not."""
    return {**weights_and_biases(OUTSIDE), **of_blocks(depth, "transformer_blocks", INSIDE)}


def from_ours(state: dict[str, Tensor], model: Architecture) -> dict[str, Tensor]:
    """Their weights from our plain ones (see `architecture.plain`)."""
    theirs = to_theirs(state, names(model.depth))
    for n in range(model.depth):
        block = f"transformer_blocks.{n}"
        for key, ours in EMBEDDERS.items():
            theirs[f"{block}.norm1.emb.{key}"] = state[ours].clone()
        for part in ("weight", "bias"):
            pieces = state[f"blocks.{n}.attention.qkv.{part}"].chunk(3)
            theirs |= {f"{block}.attn1.{q}.{part}": piece for q, piece in zip(QKV, pieces, strict=True)}
    return theirs


def from_theirs(state: dict[str, Tensor], model: Architecture, source: str) -> dict[str, Tensor]:
    """Our weights from theirs.

    Raises:
        CheckpointError: the blocks' embedders of time and class are not all equal.
    """
    ours = to_ours(state, names(model.depth))
    worst, where = 0.0, ""
    for key, name in EMBEDDERS.items():
        ours[name] = first = state[f"transformer_blocks.0.norm1.emb.{key}"]
        for n in range(1, model.depth):
            other = f"transformer_blocks.{n}.norm1.emb.{key}"
            difference = float((state[other].float() - first.float()).abs().max())
            if not difference <= worst:
                worst, where = difference, other
    if where:
        raise CheckpointError(
            f"{source}: the blocks embed time and class in ways of their own, and here all share one: {where} differs "
            f"by {worst:.3g} from that of block 0"
        )
    table = ours["label_embed.weight"]
    ours["label_embed.weight"] = torch.cat([table[: model.num_classes], table[-1:]])
    for n in range(model.depth):
        for part in ("weight", "bias"):
            pieces = [state[f"transformer_blocks.{n}.attn1.{q}.{part}"] for q in QKV]
            ours[f"blocks.{n}.attention.qkv.{part}"] = torch.cat(pieces)
    return ours


def pad_classes(state: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Put the null class into the last of `rows` rows of the label table, and copies of it before."""
    table = state["label_embed.weight"]
    copies = table[-1:].expand(max(rows - len(table), 0), -1)
    return {**state, "label_embed.weight": torch.cat([table, copies])[:rows]}


def count_classes(state: dict[str, Tensor]) -> int:
    """Classes without the null class and the copies of it that `pad_classes` added."""
    table = state[LABELS]
    others = (table != table[-1]).any(dim=1).nonzero()  # (real classes, 1)
    return int(others[-1]) + 1 if len(others) else len(table) - 1
