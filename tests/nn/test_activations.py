"""What blocks keep for the backward pass, to the byte, and what they compute, to the multiply-add."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dit_toolkit.blocks.adaln import AdaLN
from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.blocks.cross_attention import CrossAttention
from dit_toolkit.blocks.in_context import InContext
from dit_toolkit.flops.saved import saved_bytes
from dit_toolkit.testing.inputs import randn, randomise

N, T, D, HEADS = 3, 16, 32, 2
TOKENS, ROW = N * T * D, N * D
LSE = 4 * N * HEADS * T
"""Bytes of the logarithms of sums, float32, that torch's fused kernel keeps for each query."""

# x, q k v 3, attention, its projection (for the gate alone), x', fc1 4, fc2 (for the gate alone).
UNITS = {"adaln-zero": 12, "adaln": 10, "in-context": 10, "cross-attention": 13}
# t + y, silu(t + y), modulation; scales and shifts of the plain norms; the two condition tokens, their k and v.
SMALL = {"adaln-zero": 8 * ROW, "adaln": 6 * ROW, "in-context": 4 * D, "cross-attention": 6 * D + 2 * ROW + 4 * ROW}
BLOCKS = {block.kind: block for block in (AdaLNZero, AdaLN, InContext, CrossAttention)}


def block_and_inputs(kind, dtype, **options):
    block = randomise(BLOCKS[kind](**options).build(D, HEADS)).to(dtype)
    x, t, y = (z.to(dtype).requires_grad_() for z in (randn(N, T, D), randn(N, D, seed=3), randn(N, D, seed=6)))
    return block, x, t, y


@pytest.mark.parametrize("gelu", ["tanh", "exact"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_bytes_kept_in_bf16(kind, gelu):
    block, *inputs = block_and_inputs(kind, torch.bfloat16, gelu=gelu)
    assert saved_bytes(block, *inputs) == 2 * (UNITS[kind] * TOKENS + SMALL[kind])


@pytest.mark.parametrize("kind", BLOCKS)
def test_bytes_kept_in_float32(kind):
    """torch's kernel keeps its output in place of the copy that the projection would."""
    block, *inputs = block_and_inputs(kind, torch.float32)
    kernels = 2 if kind == "cross-attention" else 1
    expected = 4 * (UNITS[kind] * TOKENS + SMALL[kind]) + kernels * LSE
    assert saved_bytes(block, *inputs) == expected


def test_a_block_of_xl2_keeps_675_hundredths_of_a_mebibyte_an_image():
    assert UNITS["adaln-zero"] * 256 * 1152 * 2 == 6.75 * 2**20


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_backward_pass_is_two_forward_passes_and_the_logits_again(kind):
    with torch.device("meta"):
        block = BLOCKS[kind](attention="math").build(D, HEADS)
        inputs = [torch.randn(shape, requires_grad=True) for shape in ((1, T, D), (1, D), (1, D))]
    with FlopCounterMode(display=False) as forward:
        output = block(*inputs)
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert forward.get_total_flops() == 2 * sum(BLOCKS[kind]().macs(T, D).values())
    again = T * T * D + (T * 2 * D if kind == "cross-attention" else 0)
    assert backward.get_total_flops() == 2 * forward.get_total_flops() + 2 * again


@pytest.mark.parametrize("kind", BLOCKS)
def test_inference_mode_changes_nothing(kind):
    block, *inputs = block_and_inputs(kind, torch.bfloat16)
    with torch.inference_mode():
        found = block(*inputs)
    assert torch.equal(found, block(*inputs))
