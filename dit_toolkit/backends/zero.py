"""Where DeepSpeed's optimizers keep the float32 weights, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dit_toolkit.errors import RecipeError
from dit_toolkit.shards import Shard, Span, fill_span, whole_shards

if TYPE_CHECKING:
    from torch import Tensor, nn

SCALE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")
"""What a dynamic loss scaler remembers."""


def shards(engine: Any) -> list[Shard]:
    """The float32 tensors that this rank's optimizer steps; RecipeError where they are not in memory."""
    optimizer = engine.optimizer
    names = {id(param): name for name, param in engine.module.named_parameters()}
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):
        return list(_stage3(optimizer, names))
    for groups, flat, spans in FLAT:
        if hasattr(optimizer, flat):
            partitions = zip(getattr(optimizer, groups), getattr(optimizer, flat), strict=True)
            return [
                Shard(tensor, spans(params, names), optimizer.optimizer, group)
                for (params, tensor), group in zip(partitions, optimizer.optimizer.param_groups, strict=True)
            ]
    if hasattr(optimizer, "fp32_groups"):  # Stage 0.
        pairs = [
            (names[id(low)], high)
            for lows, highs in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
            for low, high in zip(lows, highs, strict=True)
        ]
        return whole_shards(pairs, optimizer.optimizer)
    return whole_shards(engine.module.named_parameters(), optimizer)  # Stage 0 in float32 has no wrapper.


def gather_by_block(model: nn.Module) -> None:
    """Let stage 3 gather the weights of a block at once; hooks at each of its layers cost more than a small layer."""
    from deepspeed.utils import set_z3_leaf_module
    from torch.nn import ModuleList

    for blocks in model.modules():
        for block in blocks if isinstance(blocks, ModuleList) else ():
            set_z3_leaf_module(block, True)


def refresh(optimizer: Any) -> None:
    """Copy the masters of this rank to the weights, and gather those of the others."""
    if hasattr(optimizer, "update_lp_params"):  # Stages 1 and 2.
        optimizer.update_lp_params()
    elif hasattr(optimizer, "fp32_partitioned_groups_flat"):  # Stage 3.
        optimizer._partition_all_parameters()  # Weights that a forward pass left whole would stay as they are.
        for group in range(len(optimizer.fp32_partitioned_groups_flat)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        if optimizer.persistent_parameters:
            optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)
    elif hasattr(optimizer, "fp32_groups_flat"):
        for low, high in zip(optimizer.fp16_groups_flat, optimizer.fp32_groups_flat, strict=True):
            low.data.copy_(high.data)
    elif hasattr(optimizer, "fp32_groups"):
        for lows, highs in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
            for low, high in zip(lows, highs, strict=True):
                low.data.copy_(high.data)


def begin(optimizer: Any, shards: Sequence[Shard], initial: Mapping[str, Tensor]) -> None:
    """Give the masters the weights as they were before DeepSpeed rounded them, and forget its step of zeros."""
    if not hasattr(optimizer, "update_lp_params") and not hasattr(optimizer, "fp32_partitioned_groups_flat"):
        for shard in shards:
            shard.state.clear()
            shard.group.pop("step", None)
    for shard in shards:
        for span in shard.spans:
            fill_span(initial[span.name], span, shard.master)
    refresh(optimizer)


def counters(optimizer: Any) -> dict[str, float]:
    """State of the dynamic loss scale; nothing where there is none."""
    scaler = _scaler(optimizer)
    return {name: getattr(scaler, name) for name in SCALE if getattr(scaler, name, None) is not None}


def set_counters(optimizer: Any, counters: Mapping[str, float]) -> None:
    """Set the dynamic loss scale, where there is one."""
    scaler = _scaler(optimizer)
    for name in counters.keys() & set(SCALE):
        if hasattr(scaler, name):
            setattr(scaler, name, counters[name])


def _scaler(optimizer: Any) -> Any:
    """The dynamic loss scaler, or None."""
    config = getattr(optimizer, "loss_scale_config", None)  # Stage 0.
    if config is not None:
        return config if config.dynamic_loss_scale else None
    scaler = getattr(optimizer, "loss_scaler", None)
    return scaler if getattr(scaler, "dynamic", False) else None


def _stage3(optimizer: Any, names: Mapping[int, str]) -> Iterator[Shard]:
    """Every parameter is cut into equal parts, one for each rank, and a flat tensor holds those of a sub-group."""
    from torch import distributed

    rank = distributed.get_rank(optimizer.dp_process_group)
    for number, (params, tensor) in enumerate(
        zip(optimizer.fp16_groups, optimizer.fp32_partitioned_groups_flat, strict=True)
    ):
        spans, start = [], 0
        for param in params:
            size = param.partition_numel()
            count = min(size, param.ds_numel - rank * size)  # The last part is padded.
            if count > 0:
                spans.append(Span(names[id(param)], tuple(param.ds_shape), rank * size, start, count))
            start += size
        if tensor.numel() != start:
            raise RecipeError(
                "train.backend.config: weights that DeepSpeed keeps on NVMe can be neither averaged nor saved; "
                'use device = "cpu"'
            )
        group = optimizer.optimizer.param_groups[optimizer.sub_group_to_group_id[number]]
        yield Shard(tensor, spans, optimizer.optimizer, group)


def _linked(params: Sequence[Any], names: Mapping[int, str]) -> list[Span]:
    """Spans of a flat partition to which DeepSpeed has linked the weights."""
    spans = []
    for param in params:
        link = param._hp_mapping
        if link is not None:
            mine, theirs = link.lp_fragment_address, link.hp_fragment_address
            spans.append(Span(names[id(param)], tuple(param.shape), mine.start, theirs.start, mine.numel))
    return sorted(spans, key=lambda span: span.start)


def _in_a_row(params: Sequence[Any], names: Mapping[int, str]) -> list[Span]:
    """Spans of a tensor that holds the weights one after the other."""
    spans, start = [], 0
    for param in params:
        spans.append(Span(names[id(param)], tuple(param.shape), 0, start, param.numel()))
        start += param.numel()
    return spans


FLAT = (
    ("bit16_groups", "single_partition_of_fp32_groups", _linked),  # Stages 1 and 2.
    ("bf16_groups", "fp32_groups_flat_partition", _linked),  # Stage 1 in bf16 that adds gradients up in float32.
    ("fp16_groups", "fp32_groups_flat", _in_a_row),  # Stage 0 with a fused optimizer.
)
"""Attributes with the weights of each group and with its flat float32 tensor on this rank, and how they lie in it."""
