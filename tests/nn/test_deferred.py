"""Inputs that are computed again in the backward pass: the plain formulas, and what is kept for them."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from dit_toolkit.flops.saved import saved_bytes
from dit_toolkit.nn import gelu
from dit_toolkit.nn.deferred import Gelu, Modulated, Normalised, TanhGelu, linear
from dit_toolkit.nn.layers import Linear, modulate
from dit_toolkit.nn.products import attend_by_products

N, T, D, OUT = 2, 5, 6, 4


def attention(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v


def layer(kind):
    return lambda weight, bias, *fields: linear(kind(*fields), weight, bias)


def plain(formula):
    return lambda weight, bias, *fields: F.linear(formula(*fields), weight, bias)


def norm(x, weight=None, bias=None):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)


TOKENS, ROWS, CHANNELS = (N, T, D), (N, D), (D,)
CASES = {
    "normalised": (layer(Normalised), plain(norm), [TOKENS]),
    "affine": (layer(Normalised), plain(norm), [TOKENS, CHANNELS, CHANNELS]),
    "modulated": (
        layer(Modulated),
        plain(lambda x, shift, scale: norm(x) * (1 + scale[:, None]) + shift[:, None]),
        [TOKENS, ROWS, ROWS],
    ),
    "gelu": (layer(Gelu), plain(F.gelu), [TOKENS]),
    "tanh gelu": (layer(TanhGelu), plain(lambda h: F.gelu(h, approximate="tanh")), [TOKENS]),
    "attention": (attend_by_products, attention, [(N, 3, T, D), (N, 3, 7, D), (N, 3, 7, D)]),
}


def case(name, dtype=torch.float64):
    ours, formula, shapes = CASES[name]
    torch.manual_seed(0)
    shapes = shapes if name == "attention" else [(OUT, D), (OUT,), *shapes]
    return ours, formula, [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def output_and_gradients(function, inputs):
    output = function(*inputs)
    seed = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [output.detach(), *torch.autograd.grad(output, inputs, seed.to(output.dtype))]


@pytest.mark.parametrize("name", CASES)
def test_they_are_the_plain_formulas(name):
    ours, formula, inputs = case(name)
    (out, *grads), (right, *right_grads) = (output_and_gradients(f, inputs) for f in (ours, formula))
    torch.testing.assert_close(out, right, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grads, right_grads, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_gradients_and_gradients_of_gradients_by_differences(name):
    ours, _, inputs = case(name)
    assert torch.autograd.gradcheck(ours, inputs)
    assert torch.autograd.gradgradcheck(ours, inputs)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_within_rounding_in_lower_precision(name, dtype, bound):
    ours, formula, inputs = case(name, dtype)
    found = output_and_gradients(ours, inputs)
    right = output_and_gradients(formula, [z.detach().double().requires_grad_() for z in inputs])
    for a, b in zip(found, right, strict=True):
        assert a.dtype == dtype
        assert (a - b).norm() <= bound * b.norm()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # By torch's own compiler.
@pytest.mark.parametrize("name", CASES)
def test_nothing_changes_where_torch_does_more(name):
    """Checkpointed, in inference mode, compiled, under a transform, differentiated forward: the same numbers."""
    ours, formula, inputs = case(name)
    right = output_and_gradients(formula, inputs)
    again = output_and_gradients(lambda *given: checkpoint(ours, *given, use_reentrant=False), inputs)
    torch.testing.assert_close(again, right, rtol=1e-10, atol=1e-10)
    with torch.inference_mode():
        torch.testing.assert_close(ours(*inputs), right[0])
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(output_and_gradients(compiled, inputs), right, rtol=1e-10, atol=1e-10)
    tangents = [torch.randn_like(z) for z in inputs]
    found, expected = (torch.func.jvp(f, tuple(inputs), tuple(tangents)) for f in (ours, formula))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in CASES if name != "attention"])
def test_autocast_still_casts(name):
    ours, _, inputs = case(name, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = ours(*inputs)
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert all(z.grad.dtype == torch.float32 for z in inputs)


@pytest.mark.parametrize("name", CASES)
def test_only_what_they_are_computed_from_is_kept(name):
    ours, _, inputs = case(name)
    assert saved_bytes(ours, *inputs) == sum(z.nbytes for z in inputs)


def test_frozen_weights_get_no_gradient():
    x, frozen = torch.randn(2, 3, 4, requires_grad=True), Linear(4, 5).requires_grad_(False)
    frozen(Gelu(x)).sum().backward()
    assert x.grad is not None
    assert frozen.weight.grad is None
    assert frozen.bias.grad is None


def test_without_a_bias():
    torch.testing.assert_close(Linear(4, 5, bias=False)(Gelu(torch.zeros(2, 4))), torch.zeros(2, 5))


def test_modulating_a_norm_with_weights_of_its_own():
    x, weight, bias, shift, scale = *torch.randn(1, 2, 3, 4), *torch.randn(2, 4), *torch.randn(2, 2, 4)
    found = modulate(Normalised(x, weight, bias), shift, scale)
    torch.testing.assert_close(found, norm(x, weight, bias) * (1 + scale[:, None]) + shift[:, None])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gelu_in_pieces_is_gelu_whole(monkeypatch, dtype):
    """Pieces that do not divide the tensor, a transposed tensor, and numbers so large that tanh is 1."""
    monkeypatch.setattr(gelu, "PIECE", 7)
    h = torch.randn(9, 5, dtype=dtype).t()
    h[0, :4] = torch.tensor([300.0, -300.0, 60_000.0, -60_000.0])
    right = F.gelu(h.double(), approximate="tanh")
    with torch.no_grad():
        found = gelu.tanh_gelu(h)
    bound = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2**-8, "atol": 1e-3}
    torch.testing.assert_close(found.double(), right, **bound)
    grad = torch.randn(5, 9, dtype=dtype)
    right_grad = torch.ops.aten.gelu_backward(grad.double(), h.double(), approximate="tanh")
    torch.testing.assert_close(gelu.tanh_gelu_backward(grad, h).double(), right, **bound)
    torch.testing.assert_close(grad.double(), right_grad, **bound)


def test_gelu_passes_on_what_is_not_a_number():
    with torch.no_grad():
        assert gelu.tanh_gelu(torch.tensor([float("nan"), 0.0])).isnan().tolist() == [True, False]
