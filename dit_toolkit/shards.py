"""What a rank keeps of the weights and of the optimizer's state: which elements of which parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from dit_toolkit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, optim


class Span(NamedTuple):
    """Consecutive elements of one parameter, and where a shard keeps them."""

    name: str
    """Of the parameter."""
    shape: tuple[int, ...]
    """Of the whole parameter."""
    first: int
    """The first of them in the flattened parameter."""
    start: int
    """Where they begin in the flattened shard."""
    length: int


class Shard(NamedTuple):
    """One float32 tensor of master weights that this rank owns: a parameter, or a ZeRO partition with its padding."""

    tensor: Tensor
    """As the optimizer knows it."""
    spans: Sequence[Span]
    optimizer: optim.Optimizer
    group: dict[str, Any]
    """The optimizer's parameter group that it belongs to."""

    @property
    def master(self) -> Tensor:
        """The weights, open to writing."""
        return self.tensor.data

    @property
    def state(self) -> dict[str, Any]:
        """What the optimizer keeps for it, by its own names; open to writing, and empty before the first step."""
        state: dict[str, Any] = self.optimizer.state[self.tensor]
        return state


class Piece(NamedTuple):
    """Consecutive elements of one tensor of a file."""

    key: str
    shape: tuple[int, ...]
    """Of the whole tensor."""
    first: int
    data: Tensor
    """(n,)"""


def whole_shards(masters: Iterable[tuple[str, Tensor]], optimizer: optim.Optimizer) -> list[Shard]:
    """Shards of an optimizer that keeps every parameter whole, from (name, float32 tensor) pairs."""
    group_of = {id(tensor): group for group in optimizer.param_groups for tensor in group["params"]}
    return [
        Shard(tensor, [Span(name, tuple(tensor.shape), 0, 0, tensor.numel())], optimizer, group_of.get(id(tensor), {}))
        for name, tensor in masters
    ]


def pieces(shards: Sequence[Shard], tensors: Sequence[Tensor]) -> Iterator[Piece]:
    """Cut tensors that go with the shards (the masters, an average) into pieces of the parameters, without copying."""
    for shard, tensor in zip(shards, tensors, strict=True):
        for span in shard.spans:
            yield Piece(span.name, span.shape, span.first, _cut(tensor, span))


def optimizer_pieces(shards: Sequence[Shard]) -> Iterator[Piece]:
    """Pieces of what the optimizer keeps, each under `<the optimizer's name for it>/<parameter>`.

    Tensors of the shard's shape are cut as the shard is, and scalars belong to each of its parameters. What has another
    shape (the scales of an 8-bit optimizer) is possible for parameters that are kept whole.

    Raises:
        CheckpointError: a tensor cannot be divided among the parameters of a shard.
    """
    import torch

    for shard in shards:
        for kind, kept in shard.state.items():
            if kept is None:
                continue
            value = kept if isinstance(kept, torch.Tensor) else torch.tensor(kept)
            for span in shard.spans:
                key = f"{kind}/{span.name}"
                if value.shape == shard.tensor.shape:
                    yield Piece(key, span.shape, span.first, _cut(value, span))
                elif value.ndim == 0:
                    yield Piece(key, (), 0, value.detach().view(1))
                elif span.length == prod(span.shape) and len(shard.spans) == 1:
                    yield Piece(key, tuple(value.shape), 0, value.detach().reshape(-1))
                else:
                    raise CheckpointError(
                        f"the optimizer keeps {kind!r} of shape {tuple(value.shape)} for {len(shard.spans)} parameters "
                        f"of {shard.tensor.numel()} elements in all, which no checkpoint can hold; "
                        "use train.backend.zero_stage = 0"
                    )


def numbers(shards: Sequence[Shard]) -> dict[str, Any]:
    """What is told beside `optimizer_pieces`: which scalars are plain numbers, and what the groups count."""
    plain = {kind for shard in shards for kind, kept in shard.state.items() if isinstance(kept, (int, float))}
    return {"plain": sorted(plain), "groups": [_counted(shard) for shard in _one_per_group(shards)]}


def set_groups(shards: Sequence[Shard], counted: Sequence[dict[str, float]]) -> None:
    """Give the optimizer's groups the numbers that they had."""
    for shard, values in zip(_one_per_group(shards), counted, strict=True):
        shard.group.update(values)


def fill_span(whole: Tensor, span: Span, tensor: Tensor) -> None:
    """Copy the elements of a span out of a whole parameter into a tensor that goes with the shard."""
    part = whole.view(-1)[span.first : span.first + span.length]
    _cut(tensor, span).copy_(part)


def _one_per_group(shards: Sequence[Shard]) -> list[Shard]:
    """The first shard of every parameter group."""
    return list({id(shard.group): shard for shard in reversed(shards)}.values())[::-1]


def _counted(shard: Shard) -> dict[str, float]:
    """Numbers that an optimizer has put into a group, beyond its options."""
    known = {*shard.optimizer.defaults, "lr", "initial_lr"}
    return {key: value for key, value in shard.group.items() if key not in known and type(value) in (int, float)}


def _cut(tensor: Tensor, span: Span) -> Tensor:
    """Elements (n,) of a span, sharing memory."""
    return tensor.detach().view(-1)[span.start : span.start + span.length]
