import pytest
import torch
from dit_toolkit_plugin_registers import Registers, swiglu_width
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dit_toolkit.testing import parametrize_with_checks


@parametrize_with_checks([Registers(), Registers(num_registers=0)])
def test_contract(component, check):
    check(component)


@pytest.mark.parametrize("width", [96, 128, 384, 768, 1024, 1152, 2048])
def test_the_mlp_has_the_parameters_of_a_gelu_mlp_of_ratio_4(width):
    """Equal where 3 divides D, at most three columns of eight more elsewhere."""
    assert swiglu_width(width) % 8 == 0
    assert 0 <= 3 * width * swiglu_width(width) - 8 * width**2 <= 3 * 8 * width
    with torch.device("meta"):
        mlp = Registers().build(width, 4).mlp
    assert sum(p.numel() for p in mlp.parameters()) == 3 * width * swiglu_width(width)


@pytest.mark.parametrize(("tokens", "width", "heads"), [(256, 1152, 16), (49, 128, 4)])
def test_macs_of_real_sizes_are_those_that_torch_counts(tokens, width, heads):
    block = Registers(num_registers=16)
    tokens += block.extra_tokens
    with torch.device("meta"):
        module, x, c = block.build(width, heads), torch.empty(1, tokens, width), torch.empty(1, width)
    with FlopCounterMode(display=False) as counter, sdpa_kernel([SDPBackend.MATH]):
        module(x, c, c)
    assert 2 * sum(block.macs(tokens, width).values()) == counter.get_total_flops()


def test_queries_and_keys_have_unit_rms():
    """However large the weights, no logit exceeds sqrt(D / heads)."""
    attention, seen = Registers().build(32, 2).attention, []
    attention.qkv.weight.data *= 1000
    for norm in (attention.q_norm, attention.k_norm):
        norm.register_forward_hook(lambda module, args, out: seen.append(out))
    attention(torch.randn(2, 8, 32))
    q, k = seen
    assert torch.allclose(q.square().mean(-1), torch.ones(2, 2, 8), atol=1e-3)
    assert (q @ k.transpose(2, 3)).abs().max() / 16**0.5 <= 16**0.5 + 1e-3


def test_registers_are_equal_for_every_image_and_learnt():
    prefix = Registers(num_registers=3).build_prefix(8)
    tokens = prefix(torch.randn(2, 8), torch.randn(2, 8))
    assert tokens.shape == (2, 3, 8)
    assert torch.equal(tokens[0], tokens[1])
    assert tokens[0].std() > 0
    tokens.sum().backward()
    assert (prefix.tokens.grad == 2).all()
    assert Registers(num_registers=0).build_prefix(8) is None


@pytest.mark.parametrize("number", [-1, 1025])
def test_how_many_registers(number):
    with pytest.raises(ValueError, match="num_registers"):
        Registers(num_registers=number)
