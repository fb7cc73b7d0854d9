"""Compiled blocks: the same numbers, the same names; and what is said where nothing can be compiled."""

import shutil

import pytest
import torch

from dit_toolkit import build_model, load_recipe
from dit_toolkit.errors import DitToolkitError
from dit_toolkit.training.kernels import compile_blocks, float32_products
from tests.conftest import ROOT, SMALL


def model(every=0):
    torch.manual_seed(0)
    options = [*SMALL, "model.block.dropout=0.2", f"train.activation_checkpointing={every}"]
    model = build_model(load_recipe(ROOT / "recipes/fashion.toml", set=options))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.train()


def gradients(model):
    """Output and gradients, with dropout drawn from a seed."""
    torch.manual_seed(1)
    x = torch.randn(3, 1, 32, 32)
    output = model(x, torch.tensor([3.0, 500.0, 999.0]), torch.tensor([1, 5, 10]))
    output.square().mean().backward()
    return [output.detach(), *(parameter.grad for parameter in model.parameters())]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks_give_the_same_numbers_under_the_same_names_and_share_one_compilation():
    from torch._dynamo.utils import counters

    plain = gradients(model())
    compiled = model()
    before = list(compiled.state_dict())
    compile_blocks(compiled, "cpu")
    counters.clear()
    for one, other in zip(plain, gradients(compiled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] == 1  # of two blocks
    assert list(compiled.state_dict()) == before
    compiled.load_state_dict(model().state_dict())
    again = model(every=1)
    compile_blocks(again, "cpu")
    for one, other in zip(plain, gradients(again), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_machine_without_a_compiler_is_one_clear_error(monkeypatch):
    import torch._inductor.config as config
    from torch._inductor.utils import fresh_cache

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    torch._dynamo.reset()
    with (
        fresh_cache(),
        pytest.raises(DitToolkitError, match=r"train\.compile: .*C\+\+ compiler.*train\.compile = false"),
    ):
        compile_blocks(model(), "cpu")


def test_tf32_is_a_matter_of_gpus_and_of_training(monkeypatch, capsys):
    with float32_products(True, "cpu"):
        assert torch.get_float32_matmul_precision() == "highest"
    assert capsys.readouterr().err == ""
    for tf32, name in ((True, "high"), (False, "highest")):
        with float32_products(tf32, "cuda"):
            assert torch.get_float32_matmul_precision() == name
            assert torch.backends.cudnn.allow_tf32 == tf32
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cudnn.allow_tf32
    assert "TF32 (train.tf32)" in capsys.readouterr().err
