"""The four ways of conditioning that the DiT paper compares (Peebles & Xie 2023, section 3.2 and table 4)."""

import pytest
import torch

from dit_toolkit.blocks.adaln import AdaLN
from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.blocks.cross_attention import CrossAttention
from dit_toolkit.blocks.in_context import InContext
from dit_toolkit.nn.dit import DiT, count_parameters
from dit_toolkit.patchifiers.conv import Conv
from dit_toolkit.testing.inputs import randomise

BLOCKS = {block.kind: block for block in (AdaLNZero, AdaLN, InContext, CrossAttention)}


def make(
    kind,
    size=(16, 8),
    patch=4,
    hidden=32,
    depth=2,
    heads=4,
    channels=2,
    classes=10,
    positions="sincos",
    head="linear",
    **options,
):
    return DiT(
        input_size=size,
        in_channels=channels,
        out_channels=2 * channels,
        hidden_size=hidden,
        depth=depth,
        num_heads=heads,
        num_classes=classes,
        patchifier=Conv(patch_size=patch, head=head),
        block=BLOCKS[kind](**options),
        positions=positions,
    )


def trained_looking(model):
    return randomise(model).eval().requires_grad_(False)


def inputs(n=3, size=(16, 8), channels=2):
    return torch.randn(n, channels, *size), torch.rand(n) * 1000, torch.arange(n) % 10


@pytest.mark.parametrize(
    ("kind", "millions"), [("in-context", 449.5), ("cross-attention", 598.3), ("adaln", 600.7), ("adaln-zero", 675.1)]
)
def test_parameters_of_xl2(kind, millions):
    with torch.device("meta"):
        model = make(kind, (32, 32), 2, 1152, 28, 16, channels=4, classes=1000)
    assert round(count_parameters(model) / 1e6, 1) == millions


def test_parameters_of_a_block_by_formula():
    d = 32
    attention, mlp, norm = 4 * d**2 + 4 * d, 8 * d**2 + 5 * d, 2 * d
    expected = {
        "adaln-zero": attention + mlp + 6 * d**2 + 6 * d,
        "adaln": attention + mlp + 4 * d**2 + 4 * d,
        "in-context": attention + mlp + 2 * norm,
        "cross-attention": 2 * attention + mlp + 3 * norm,
    }
    assert {kind: sum(p.numel() for p in make(kind).blocks[0].parameters()) for kind in BLOCKS} == expected


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("options", [{}, {"qk_norm": True, "gelu": "exact", "mlp_ratio": 3.0}])
def test_untrained_output_is_exactly_zero(kind, options):
    output = make(kind, **options)(*inputs())
    assert output.shape == (3, 4, 16, 8)
    assert torch.equal(output, torch.zeros_like(output))


@pytest.mark.parametrize("kind", BLOCKS)
def test_time_and_class_each_change_the_output(kind):
    model, (x, t, y) = trained_looking(make(kind)), inputs()
    plain = model(x, t, y)
    for other in (model(x, t + 100, y), model(x, t, y + 1)):
        assert not torch.allclose(plain, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["in-context", "cross-attention"])
def test_time_and_class_are_kept_apart(kind):
    """Moving a part of t to y leaves t + y, which is all that adaLN sees, and changes what the others do."""
    model = trained_looking(make(kind))
    block, x, part = model.blocks[0], torch.randn(2, 8, 32), torch.randn(2, 32)
    t, y = torch.randn(2, 32), torch.randn(2, 32)

    def image(t, y):
        tokens = x if model.prefix is None else torch.cat([model.prefix(t, y), x], dim=1)
        return block(tokens, t, y)[:, -8:]

    assert not torch.allclose(image(t, y), image(t + part, y - part), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(image(t, y), image(y, t))  # Attention has no order.


@pytest.mark.parametrize("kind", ["adaln-zero", "adaln"])
def test_adaptive_blocks_see_the_sum(kind):
    block = trained_looking(make(kind)).blocks[0]
    x, t, y = torch.randn(2, 10, 32), torch.randn(2, 32), torch.randn(2, 32)
    torch.testing.assert_close(block(x, t, y), block(x, t + y, torch.zeros_like(y)))


@pytest.mark.parametrize("kind", BLOCKS)
def test_rows_of_a_batch_are_independent(kind):
    model, (x, t, y) = trained_looking(make(kind)), inputs()
    torch.testing.assert_close(model(x, t, y)[1:2], model(x[1:2], t[1:2], y[1:2]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", BLOCKS)
def test_permuting_classes_permutes_outputs(kind):
    model, (x, t, y) = trained_looking(make(kind)), inputs()
    before = model(x, t, y)
    order = torch.randperm(10)
    model.label_embed.weight[:10] = model.label_embed.weight[:10][order]
    torch.testing.assert_close(model(x, t, torch.argsort(order)[y]), before)


@pytest.mark.parametrize("kind", BLOCKS)
def test_extra_tokens_never_reach_the_image(kind):
    model = trained_looking(make(kind))
    seen = []
    model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].value().shape))
    model(*inputs())
    assert seen == [(3, 8, 32)]


@pytest.mark.parametrize("kind", ["in-context", "cross-attention"])
def test_plain_blocks_end_in_a_plain_norm(kind):
    final = make(kind).final
    assert final.modulation is None
    assert {name for name, _ in final.named_parameters()} == {"norm.weight", "norm.bias"}


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_parameter_learns(kind):
    model = randomise(make(kind, qk_norm=True, positions="learned"))
    model(torch.randn(20, 2, 16, 8), torch.rand(20) * 1000, torch.arange(20) % 11).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("kind", BLOCKS)
def test_bf16_is_close_to_fp32(kind):
    model, (x, t, y) = trained_looking(make(kind)), inputs()
    for parameter in model.parameters():
        parameter.mul_(0.3)
    exact = model(x, t, y)
    low = model.bfloat16()(x, t, y)
    assert (low - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("head", ["linear", "conv-transpose"])
def test_gradients_in_bf16_are_close_to_those_of_float64(kind, head):
    """Of every parameter, over 2,048 tokens, many enough that a sum in 16 bits would lose most of them."""
    torch.manual_seed(0)
    sizes = {"size": (32, 32), "patch": 2, "head": head}
    state = {name: 0.1 * value for name, value in randomise(make(kind, **sizes)).state_dict().items()}
    x, t, y = inputs(8, (32, 32))
    found = {}
    for dtype in (torch.float64, torch.bfloat16):
        model = make(kind, **sizes)
        model.load_state_dict(state)
        output = model.to(dtype)(x.to(dtype), t, y)
        (output - 1).square().mean(dtype=torch.promote_types(dtype, torch.float32)).backward()
        found[dtype] = {name: parameter.grad.double() for name, parameter in model.named_parameters()}
    apart = {
        name: float((found[torch.bfloat16][name] - exact).norm() / exact.norm())
        for name, exact in found[torch.float64].items()
    }
    assert {name: value for name, value in apart.items() if not value < 0.05} == {}


@pytest.mark.parametrize("kind", BLOCKS)
def test_dropout_acts_in_training_only(kind):
    model, given = trained_looking(make(kind, dropout=0.5)), inputs()
    assert torch.equal(model(*given), model(*given))
    model.train()
    assert not torch.equal(model(*given), model(*given))


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("kernel", ["math", "sdpa"])
def test_attention_dropout_acts_in_training_only(kind, kernel):
    model, given = trained_looking(make(kind, attention_dropout=0.5, attention=kernel)), inputs()
    assert torch.equal(model(*given), model(*given))
    model.train()
    assert not torch.equal(model(*given), model(*given))


def test_qk_norm_bounds_the_logits():
    """However large the weights, a query and a key have length sqrt(d): no logit exceeds sqrt(d)."""
    from dit_toolkit.nn import attention

    layer = attention.SelfAttention(32, 4, qk_norm=True)
    layer.qkv.weight.data *= 1000
    q, k, _ = (attention._heads(z, 4) for z in layer.qkv(torch.randn(2, 6, 32)).chunk(3, dim=-1))
    q, k = layer.qk_norm(q, k)
    assert (q @ k.transpose(2, 3) / 8**0.5).abs().max() <= 8**0.5 + 1e-4


@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_positions_are_counted_once(positions):
    model = make("adaln-zero", positions=positions)
    assert count_parameters(model) == count_parameters(make("adaln-zero"))
    assert ("positions" in model.state_dict()) == (positions == "learned")


def test_learned_positions_start_small_and_take_any_width():
    model = make("in-context", hidden=30, heads=2, positions="learned", size=(64, 64))
    assert 0.018 < model.positions.std() < 0.022
