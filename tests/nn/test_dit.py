import pytest
import torch

from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.nn.dit import DiT, count_parameters
from dit_toolkit.nn.embed import TimeEmbed, sincos_positions
from dit_toolkit.nn.layers import init_linear
from dit_toolkit.nn.patch import ConvEmbed, LinearHead
from dit_toolkit.patchifiers.conv import Conv

SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16), "2B": (2048, 30, 16)}


def make(size=(16, 8), patch=4, hidden=32, depth=2, heads=4, channels=1, learn_sigma=True, classes=10, null=True):
    return DiT(
        input_size=size,
        in_channels=channels,
        out_channels=channels * (2 if learn_sigma else 1),
        hidden_size=hidden,
        depth=depth,
        num_heads=heads,
        num_classes=classes,
        patchifier=Conv(patch_size=patch),
        block=AdaLNZero(),
        null_class=null,
    )


@pytest.mark.parametrize(
    ("name", "patch", "latent", "parameters"),
    [
        ("S", 8, 32, 33_148_160),
        ("S", 4, 32, 32_945_024),
        ("S", 2, 32, 32_963_360),
        ("B", 8, 32, 130_881_536),
        ("B", 4, 32, 130_475_648),
        ("B", 2, 32, 130_512_416),
        ("L", 8, 32, 458_594_816),
        ("L", 4, 32, 458_053_760),
        ("L", 2, 32, 458_102_816),
        ("XL", 8, 32, 675_683_072),
        ("XL", 4, 32, 675_074_432),
        ("XL", 2, 32, 675_129_632),
        ("XL", 2, 64, 676_014_368),
        ("2B", 2, 32, 2_281_635_872),
    ],
)
def test_parameter_counts_are_the_papers(name, patch, latent, parameters):
    hidden, depth, heads = SIZES[name]
    with torch.device("meta"):
        model = make((latent, latent), patch, hidden, depth, heads, channels=4, classes=1000)
    assert count_parameters(model) == parameters


def trained_looking(model, seed=0):
    """Replace every weight, so that zero-initialised parts take part."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def test_untrained_output_is_exactly_zero():
    x, t, y = torch.randn(3, 1, 16, 8), torch.tensor([0.0, 3.5, 999.0]), torch.tensor([0, 9, 10])
    output = make()(x, t, y)
    assert output.shape == (3, 2, 16, 8)
    assert torch.equal(output, torch.zeros_like(output))


def test_untrained_block_is_the_identity():
    block = make().blocks[0]
    x = torch.randn(2, 8, 32)
    assert torch.equal(block(x, torch.randn(2, 32), torch.randn(2, 32)), x)


def test_rows_of_a_batch_are_independent_and_conditioning_counts():
    model = trained_looking(make())
    x, t, y = torch.randn(2, 1, 16, 8), torch.tensor([10.0, 20.0]), torch.tensor([1, 2])
    both = model(x, t, y)
    torch.testing.assert_close(both[:1], model(x[:1], t[:1], y[:1]))
    assert not torch.allclose(both, model(x, t + 100, y))
    assert not torch.allclose(both, model(x, t, y + 1))


def test_every_parameter_learns():
    model = trained_looking(make()).train()
    model(torch.randn(20, 1, 16, 8), torch.rand(20) * 1000, torch.arange(20) % 11).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_bf16_is_close_to_fp32():
    model = trained_looking(make())
    x, t, y = torch.randn(4, 1, 16, 8), torch.tensor([1.0, 257.0, 500.5, 999.0]), torch.arange(4)
    exact = model(x, t, y)
    low = model.bfloat16()(x, t, y)
    assert low.dtype == torch.float32
    assert (low - exact).norm() / exact.norm() < 0.02


def test_timestep_sinusoids_are_cos_then_sin_in_float32():
    seen = {}
    embed = TimeEmbed(8).bfloat16()
    embed.fc1.register_forward_pre_hook(lambda _, x: seen.update(x=x[0]))
    embed(torch.tensor([0.0, 999.0, 998.0]))
    angle = 999 * 10_000 ** (-torch.arange(128) / 128)
    expected = torch.cat([angle.cos(), angle.sin()]).bfloat16()
    assert torch.equal(seen["x"][0], torch.cat([torch.ones(128), torch.zeros(128)]).bfloat16())
    torch.testing.assert_close(seen["x"][1], expected, atol=1e-2, rtol=0)
    assert not torch.equal(seen["x"][1], seen["x"][2])


def test_frequencies_of_diffusers_end_at_one_ten_thousandth():
    seen = []
    for frequencies in ("paper", "diffusers"):
        embed = TimeEmbed(8, frequencies).double()
        embed.fc1.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        embed(torch.tensor([700.0]))
    for sinusoids, span in zip(seen, (128, 127), strict=True):
        angle = 700 * 10_000 ** (-torch.arange(128).double() / span)
        torch.testing.assert_close(sinusoids[0], torch.cat([angle.cos(), angle.sin()]), atol=1e-3, rtol=0)


def test_positions_hold_the_column_first():
    table = sincos_positions(8, 2, 3).view(2, 3, 8)  # omega = 1, 1/100
    assert torch.equal(table[0, :, :4], table[1, :, :4])
    assert torch.equal(table[:, 0, 4:], table[:, 2, 4:])
    angle = torch.tensor([2.0, 0.02], dtype=torch.float64)
    torch.testing.assert_close(table[0, 2, :4], torch.cat([angle.sin(), angle.cos()]).float())


def test_positions_are_neither_trained_nor_saved():
    model = make()
    assert "positions" not in model.state_dict()
    assert all(p is not model.positions for p in model.parameters())


@pytest.mark.parametrize("patch", [(4, 4), (2, 4)])
def test_tokens_are_row_major_and_heads_put_them_back(patch):
    embed, head = ConvEmbed(1, 8, patch), LinearHead(8, 1, patch)
    area = patch[0] * patch[1]
    embed.proj.weight.data.zero_()
    embed.proj.weight.data.view(8, -1)[:area, :] = torch.eye(area)[: min(8, area)] if area <= 8 else 0
    if area > 8:
        embed = ConvEmbed(1, area, patch)
        head = LinearHead(area, 1, patch)
        embed.proj.weight.data.view(area, area).copy_(torch.eye(area))
    embed.proj.bias.data.zero_()
    head.linear.weight.data.copy_(torch.eye(area))
    head.linear.bias.data.zero_()
    x = torch.randn(2, 1, 8, 12)
    tokens = embed(x)
    assert torch.equal(tokens[:, 1, :area].view(2, *patch), x[:, 0, : patch[0], patch[1] : 2 * patch[1]])
    torch.testing.assert_close(head(tokens, (8 // patch[0], 12 // patch[1])), x)


def test_layers_without_biases_are_initialised_too():
    layer = torch.nn.Linear(2, 3, bias=False)
    layer.weight.data.fill_(9)
    init_linear(layer)
    assert layer.weight.abs().max() <= (6 / 5) ** 0.5


def test_extra_tokens_go_before_the_image_and_are_dropped():
    """A prefix of [t, y] reaches the blocks, and the output keeps the image's size."""
    seen = []

    class Pair(torch.nn.Module):
        def forward(self, t, y):
            return torch.stack([t, y], dim=1)

    class Spy(torch.nn.Module):
        def forward(self, x, t, y):
            seen.append(torch.equal(x[:, :2], torch.stack([t, y], dim=1)))
            return x

    class WithPair(AdaLNZero):
        extra_tokens = 2

        def build_prefix(self, hidden_size):
            return Pair()

        def build(self, hidden_size, num_heads):
            return Spy()

    model = DiT(
        input_size=(16, 8),
        in_channels=1,
        out_channels=1,
        hidden_size=32,
        depth=2,
        num_heads=4,
        num_classes=10,
        patchifier=Conv(patch_size=4),
        block=WithPair(),
    )
    assert model(torch.randn(2, 1, 16, 8), torch.ones(2), torch.tensor([0, 1])).shape == (2, 1, 16, 8)
    assert seen == [True, True]


def test_no_null_row_without_dropout():
    assert make(null=False).label_embed.num_embeddings == 10
    assert make().label_embed.num_embeddings == 11


def test_double_precision_stays_double():
    model = trained_looking(make()).double()
    assert model(torch.randn(1, 1, 16, 8).double(), torch.tensor([3.0]), torch.tensor([1])).dtype == torch.float64
