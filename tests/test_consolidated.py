"""Tensors that lie in pieces become whole, in files that safetensors reads."""

from itertools import pairwise

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load
from torch import optim

from dit_toolkit import consolidated
from dit_toolkit.consolidated import DTYPES, fill, fill_optimizer, gather, header, plan, share, stream
from dit_toolkit.errors import CheckpointError
from dit_toolkit.shards import Piece, Shard, Span, optimizer_pieces, pieces, whole_shards


def file_of(held, metadata=None):
    entries = plan(held)
    return b"".join(
        [header(entries, metadata or {}), *(bytes(part.numpy()) for part in stream(entries, share(entries, held)))]
    )


def cut(key, tensor, *points):
    flat = tensor.reshape(-1)
    ends = [0, *points, flat.numel()]
    return [Piece(key, tuple(tensor.shape), a, flat[a:b]) for a, b in pairwise(ends)]


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(bits(one), bits(other))


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("chunk", [1, 7, 8, 2**24])
def test_every_type_and_cut_comes_back_bit_for_bit(monkeypatch, chunk):
    """Odd sizes, minus zero, nan, an empty tensor and scalars of every type that safetensors has, aligned."""
    monkeypatch.setattr(consolidated, "CHUNK", chunk)
    tensors = {f"{dtype}-{n}": torch.arange(3.0 * n).view(3, n).to(dtype) for dtype in DTYPES for n in (0, 1, 3)}
    tensors |= {f"{dtype}": torch.tensor(1).to(dtype) for dtype in DTYPES}
    tensors["odd"] = torch.tensor([-0.0, torch.nan, torch.inf, 1e-45])
    held = [
        piece
        for key, tensor in tensors.items()
        for piece in cut(key, tensor, *(p for p in (2, 5) if p < tensor.numel()))
    ]
    whole = gather(held[::-1])
    read = load(file_of(held[::-1]))
    for key, tensor in tensors.items():
        assert same(whole[key], tensor), key
        assert same(read[key], tensor), key


def test_of_two_copies_one_is_taken_and_gaps_are_refused():
    tensor = torch.arange(6.0)
    assert same(gather(cut("w", tensor, 2) + cut("w", tensor, 2))["w"], tensor)
    for wrong in (cut("w", tensor, 2)[:1], cut("w", tensor, 2)[1:], cut("w", tensor, 2)[:1] + cut("w", tensor, 3)[1:]):
        with pytest.raises(CheckpointError, match="w: the processes together do not hold each of its 6 elements once"):
            gather(wrong)


class Partition:
    """Two parameters, (2, 3) and (4,), and the last four elements of the first with the first of the second, padded."""

    def __init__(self):
        self.flat = torch.zeros(8, requires_grad=True)
        self.optimizer = optim.AdamW([self.flat])
        spans = [Span("a", (2, 3), 2, 0, 4), Span("b", (4,), 0, 4, 1)]
        self.shards = [Shard(self.flat, spans, self.optimizer, self.optimizer.param_groups[0])]


def test_a_partition_takes_its_part_and_leaves_its_padding(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(file_of(cut("a", torch.arange(6.0).view(2, 3)) + cut("b", torch.arange(10.0, 14.0))))
    partition = Partition()
    fill(path, partition.shards, [partition.flat.data])
    assert partition.flat.tolist() == [2, 3, 4, 5, 10, 0, 0, 0]
    assert [(p.key, p.first, p.data.tolist()) for p in pieces(partition.shards, [partition.flat])] == [
        ("a", 2, [2, 3, 4, 5]),
        ("b", 0, [10]),
    ]


def test_the_state_of_whole_parameters_fits_a_partition(tmp_path):
    a, b = torch.zeros(2, 3, requires_grad=True), torch.zeros(4, requires_grad=True)
    optimizer = optim.AdamW([a, b])
    a.grad, b.grad = torch.arange(6.0).view(2, 3), torch.arange(10.0, 14.0)
    optimizer.step()
    held = list(optimizer_pieces(whole_shards([("a", a), ("b", b)], optimizer)))
    path = tmp_path / "file"
    path.write_bytes(file_of(held, {"numbers": '{"plain": [], "groups": [{}]}'}))
    with safe_open(path, "pt") as file:
        assert sorted(file.keys()) == [f"{kind}/{name}" for kind in ("exp_avg", "exp_avg_sq", "step") for name in "ab"]
    partition = Partition()
    fill_optimizer(path, partition.shards)
    state = partition.optimizer.state[partition.flat]
    assert float(state["step"]) == 1
    assert state["exp_avg"] == pytest.approx([0.2, 0.3, 0.4, 0.5, 1.0, 0, 0, 0])
    before = state["exp_avg"]
    fill_optimizer(path, partition.shards)
    assert state["exp_avg"] is before  # Into the same memory, where there is some.


def test_what_cannot_be_divided_is_named():
    partition = Partition()
    partition.optimizer.state[partition.flat] = {"scales": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"'scales' of shape \(3,\) for 2 parameters .*zero_stage = 0"):
        list(optimizer_pieces(partition.shards))
