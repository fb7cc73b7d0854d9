import pytest
import torch

from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.nn.dit import DiT
from dit_toolkit.nn.patch import ConvEmbed, ConvTransposeHead, LinearEmbed, LinearHead
from dit_toolkit.patchifiers.conv import Conv
from dit_toolkit.patchifiers.linear import Linear

PATCHES = [(2, 2), (4, 2), (2, 8)]


@pytest.mark.parametrize("patch", PATCHES)
def test_a_linear_embedding_is_the_convolution(patch):
    conv, linear = ConvEmbed(3, 8, patch), LinearEmbed(3, 8, patch)
    linear.proj.weight.data = conv.proj.weight.data.flatten(1)
    linear.proj.bias.data = conv.proj.bias.data
    x = torch.randn(2, 3, 8, 16)
    torch.testing.assert_close(linear(x), conv(x))


@pytest.mark.parametrize("patch", PATCHES)
def test_the_heads_agree_with_permuted_weights_and_a_shared_bias(patch):
    conv, linear = ConvTransposeHead(8, 3, patch), LinearHead(8, 3, patch)
    torch.nn.init.normal_(conv.deconv.weight)
    torch.nn.init.normal_(conv.deconv.bias)
    linear.linear.weight.data = conv.deconv.weight.data.permute(2, 3, 1, 0).reshape(-1, 8)  # (p p C, D)
    linear.linear.bias.data = conv.deconv.bias.data.repeat(patch[0] * patch[1])
    x, grid = torch.randn(2, 6, 8), (2, 3)
    assert conv(x, grid).shape == (2, 3, 2 * patch[0], 3 * patch[1])
    torch.testing.assert_close(conv(x, grid), linear(x, grid))


@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ((384, 12, 6), 32_858_884),
        ((768, 12, 12), 130_303_492),
        ((1024, 24, 16), 457_824_260),
        ((1152, 28, 16), 674_816_260),
        ((2048, 30, 16), 2_281_078_788),
    ],
)
@pytest.mark.parametrize("patchifier", [Conv, Linear])
def test_parameters_of_the_noise_only_build_with_a_transposed_convolution(name, trainable, patchifier):
    hidden, depth, heads = name
    with torch.device("meta"):
        model = DiT(
            input_size=(32, 32),
            in_channels=4,
            out_channels=4,
            hidden_size=hidden,
            depth=depth,
            num_heads=heads,
            num_classes=1000,
            patchifier=patchifier(patch_size=2, head="conv-transpose"),
            block=AdaLNZero(),
        )
    assert sum(p.numel() for p in model.parameters()) == trainable


@pytest.mark.parametrize("head", ["linear", "conv-transpose"])
@pytest.mark.parametrize("patchifier", [Conv, Linear])
def test_every_pair_starts_at_zero_and_with_the_same_spread(patchifier, head):
    kind = patchifier(patch_size=(2, 4), head=head)
    model = DiT(
        input_size=(8, 16),
        in_channels=3,
        out_channels=3,
        hidden_size=64,
        depth=1,
        num_heads=2,
        num_classes=3,
        patchifier=kind,
        block=AdaLNZero(),
    )
    weight = model.patch_embed.proj.weight.flatten(1)
    bound = (6 / (64 + 24)) ** 0.5
    assert 0.9 * bound < weight.abs().max() <= bound
    output = model(torch.randn(2, 3, 8, 16), torch.ones(2), torch.tensor([0, 1]))
    assert torch.equal(output, torch.zeros(2, 3, 8, 16))
