import pytest
import torch

from dit_toolkit.errors import DitToolkitError
from dit_toolkit.nn import products
from dit_toolkit.nn.attention import CrossAttention, attend


def formula(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v


@pytest.mark.parametrize("kernel", ["auto", "math", "sdpa", "flash"])
@pytest.mark.parametrize("keys", [2, 9])
def test_every_kernel_is_the_formula(kernel, keys):
    q, k, v = torch.randn(2, 3, 9, 8), torch.randn(2, 3, keys, 8), torch.randn(2, 3, keys, 8)
    torch.testing.assert_close(attend(q, k, v, kernel=kernel), formula(q, k, v))
    exact = attend(q.double(), k.double(), v.double(), kernel=kernel)
    torch.testing.assert_close(exact, formula(q.double(), k.double(), v.double()), rtol=1e-12, atol=1e-12)


def test_auto_in_16_bits_is_the_formula():
    q, k, v = torch.randn(3, 2, 4, 16, 8)
    low = attend(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert low.dtype == torch.bfloat16
    assert (low.float() - formula(q, k, v)).norm() / formula(q, k, v).norm() < 0.02


@pytest.mark.parametrize("kernel", ["efficient", "cudnn"])
def test_a_kernel_that_is_not_there_says_so(kernel):
    q = torch.randn(1, 1, 4, 8)
    with pytest.raises(
        DitToolkitError, match=rf"attention kernel '{kernel}' cannot run here on cpu tensors of type float32"
    ):
        attend(q, q, q, kernel=kernel)


def test_flex_needs_a_gpu():
    q = torch.randn(1, 1, 4, 8)
    with pytest.raises(DitToolkitError, match="'flex' needs a GPU and no dropout; got cpu tensors of type float32"):
        attend(q, q, q, kernel="flex")


@pytest.mark.parametrize("kernel", ["math", "sdpa"])
def test_dropped_weights_are_scaled_up(kernel):
    """With v = 1 the mean of the outputs stays 1, and with half of the weights gone no single one does."""
    torch.manual_seed(0)
    q, v = torch.randn(8, 8, 64, 8), torch.ones(8, 8, 64, 8)
    out = attend(q, q, v, kernel=kernel, dropout=0.5)
    assert abs(out.mean() - 1) < 0.05
    assert out.std() > 0.1


def test_cross_attention_to_one_token_returns_that_token_for_all():
    layer = CrossAttention(16, 4)
    x, context = torch.randn(2, 5, 16), torch.randn(2, 1, 16)
    value = layer.proj(layer.kv(context)[..., 16:])  # (2, 1, 16)
    torch.testing.assert_close(layer(x, context), value.expand(2, 5, 16))


@pytest.mark.parametrize("heads_at_a_time", [1, 3, 8])
def test_products_of_some_heads_at_a_time_are_those_of_all(monkeypatch, heads_at_a_time):
    """Two images of four heads, 5 queries and 7 keys: the last piece may be a smaller one."""
    inputs = [torch.randn(2, 4, length, 6, dtype=torch.float64, requires_grad=True) for length in (5, 7, 7)]
    grad = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(*inputs)
    gradients = torch.autograd.grad(expected, inputs, grad)
    monkeypatch.setattr(products, "PIECE", heads_at_a_time * 5 * 7)
    calls = []
    original = products._weights
    monkeypatch.setattr(products, "_weights", lambda q, k: calls.append(len(q)) or original(q, k))
    found = attend(*inputs, kernel="math")
    torch.testing.assert_close(found, expected)
    for here, there in zip(torch.autograd.grad(found, inputs, grad), gradients, strict=True):
        torch.testing.assert_close(here, there)
    assert calls == 2 * {1: [1] * 8, 3: [3, 3, 2], 8: [8]}[heads_at_a_time]


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # By torch's own compiler.
def test_compiled_products_are_those_that_are_not_to_the_bit():
    """torch.compile takes the pieces as they are, forwards and backwards, in 16 bits too."""
    inputs = [torch.randn(2, 4, length, 8).bfloat16().requires_grad_() for length in (16, 9, 9)]
    grad = torch.randn(2, 4, 16, 8).bfloat16()
    compiled = torch.compile(attend, backend="aot_eager", fullgraph=True)
    found, expected = (
        (out, *torch.autograd.grad(out, inputs, grad)) for out in (compiled(*inputs), attend(*inputs, kernel="math"))
    )
    assert all(torch.equal(here, there) for here, there in zip(found, expected, strict=True))
    assert torch.library.opcheck(products.attended, [z.detach().flatten(0, 1) for z in inputs])
