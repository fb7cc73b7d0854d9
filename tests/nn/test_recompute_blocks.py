"""Blocks that are run again in the backward pass: the same numbers, and less kept."""

import pytest
import torch

from dit_toolkit import build_model, load_recipe
from dit_toolkit.errors import RecipeError
from dit_toolkit.flops import activations
from dit_toolkit.flops.saved import saved_bytes
from dit_toolkit.recipe.sizes import sizes
from tests.conftest import ROOT

BLOCKS = ["adaln-zero", "adaln", "in-context", "cross-attention"]


def small(every, *changes):
    return load_recipe(
        ROOT / "recipes/s8.toml",
        set=["model.depth=4", "model.hidden_size=48", f"train.activation_checkpointing={every}", *changes],
    )


def gradients(every, dtype, *changes):
    """Loss and gradients of a network with weights, inputs and dropout drawn from seeds."""
    torch.manual_seed(0)
    model = build_model(small(every, *changes)).to(dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, y = torch.randn(3, 4, 32, 32), torch.tensor([1, 5, 1000])
    torch.manual_seed(1)
    loss = model.train()(x, torch.tensor([3.0, 500.0, 999.0]), y).square().mean()
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in model.parameters()], torch.rand(())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("every", [1, 3])
def test_gradients_are_bit_equal_with_dropout(kind, every, dtype):
    changes = [f"model.block.kind='{kind}'", "model.block.dropout=0.3", "model.block.attention_dropout=0.2"]
    loss, plain, after = gradients(0, dtype, *changes)
    again, found, after_again = gradients(every, dtype, *changes)
    assert torch.equal(loss, again)
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
    assert torch.equal(after, after_again)  # The random state goes on as if nothing had been run twice.


@pytest.mark.parametrize("every", [1, 2, 4])
def test_each_recomputed_block_runs_twice(every):
    model, runs = build_model(small(every)), []
    for number, block in enumerate(model.blocks, 1):
        block.register_forward_pre_hook(lambda *_, number=number: runs.append(number))
    model(torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.int64)).sum().backward()
    expected = [2 if number % every == 0 else 1 for number in (1, 2, 3, 4)]
    assert [runs.count(number) for number in (1, 2, 3, 4)] == expected


def test_without_gradients_nothing_runs_twice():
    model, runs = build_model(small(1)), []
    model.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        model(torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    assert runs == [1]


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_kept_is_what_a_real_pass_keeps_and_one_block_more(kind, precision):
    changes = [f"model.block.kind='{kind}'"]
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]

    def really(every):
        model = build_model(small(every, *changes)).to(dtype)
        inputs = [(torch.zeros(n, 4, 32, 32), torch.zeros(n), torch.zeros(n, dtype=torch.int64)) for n in (2, 3)]
        return saved_bytes(model, *inputs[1]) - saved_bytes(model, *inputs[0])

    plain = really(0)
    for every, blocks in ((1, 4), (2, 2), (4, 1)):
        kept = really(every)
        block = (plain - kept) / blocks
        counted = activations(small(every, *changes), precision=precision, device="cpu")
        assert counted == kept + block
        assert kept < plain


def test_less_is_kept_the_more_blocks_are_run_again():
    none, every, second = (activations(small(n, "model.depth=8"), device="cpu") for n in (0, 1, 2))
    assert every < second < none


def test_more_than_there_are_blocks_is_refused():
    with pytest.raises(RecipeError, match=r"train\.activation_checkpointing: \(5\) is more than model\.depth \(4\)"):
        sizes(small(5))
