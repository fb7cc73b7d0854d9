"""Activations: what a real forward pass keeps is what is counted without data."""

import pytest
import torch

from dit_toolkit import build_model, load_recipe
from dit_toolkit.errors import DitToolkitError
from dit_toolkit.flops import activations
from dit_toolkit.flops.saved import saved_bytes
from tests.conftest import ROOT

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def small(*changes):
    return load_recipe(ROOT / "recipes/s8.toml", set=["model.depth=2", *changes])


def really_saved(recipe, precision, images=3):
    model = build_model(recipe).to(DTYPES[precision])
    y = torch.zeros(images, dtype=torch.int64)
    return saved_bytes(model, torch.zeros(images, 4, 32, 32), torch.zeros(images), y)


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("kind", ["adaln-zero", "adaln", "in-context", "cross-attention"])
def test_each_image_keeps_what_a_real_one_does(kind, precision):
    recipe = small(f"model.block.kind='{kind}'")
    one = really_saved(recipe, precision, 3) - really_saved(recipe, precision, 2)
    assert activations(recipe, precision=precision, device="cpu") == one


def test_plain_products_keep_no_weights_of_attention():
    """They compute them again, and not even keep the sum of a row, as the fused kernel does."""
    fused, plain = (
        activations(small(f"model.block.attention='{kernel}'"), precision="fp32", device="cpu")
        for kernel in ("sdpa", "math")
    )
    blocks, heads, tokens, width = 2, 6, 16, 4
    assert fused - plain == blocks * heads * tokens * width


def test_dropout_keeps_its_masks():
    plain, dropped = (activations(small(*changes), device="cpu") for changes in ([], ["model.block.dropout=0.1"]))
    assert dropped > plain


def test_blocks_add_up():
    kept = [activations(small(f"model.depth={depth}"), device="cpu") for depth in (1, 2, 3, 8)]
    assert kept[2] - kept[1] == kept[1] - kept[0]
    assert kept[3] == kept[0] + 7 * (kept[1] - kept[0])


def test_the_precision_is_the_recipes_unless_given():
    recipe = small("train.precision='bf16'")
    assert activations(recipe, device="cpu") == activations(recipe, precision="bf16", device="cpu")
    assert activations(recipe, precision="fp32", device="cpu") > activations(recipe, device="cpu")
    assert torch.get_default_dtype() == torch.float32


def test_storages_once_and_no_parameters():
    """A linear layer keeps its input alone; the input shared by two layers is one storage."""

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)

        def forward(self, x):
            return self.a(x) + self.b(x)

    x = torch.zeros(5, 8, requires_grad=True)
    assert saved_bytes(Two(), x) == 5 * 8 * 4


def test_a_kernel_that_cannot_run_here():
    with pytest.raises(DitToolkitError, match="'flex' needs a GPU"):
        activations(small("model.block.attention='flex'"), device="cpu")


def test_what_cannot_run_without_data(monkeypatch):
    from dit_toolkit.nn.layers import Mlp

    monkeypatch.setattr(Mlp, "forward", lambda self, x: x.value() * x.value().sum().item())
    with pytest.raises(DitToolkitError, match="activations cannot be counted without data"):
        activations(small(), device="cpu")
