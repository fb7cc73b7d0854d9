"""`flops`: costs at other patch and image sizes."""

import json

import pytest
from click.testing import CliRunner

from dit_toolkit.cli import cli
from tests.conftest import ROOT


def flops(recipe, *words):
    result = CliRunner().invoke(cli, ["flops", str(ROOT / f"recipes/{recipe}.toml"), *words], prog_name="dit-toolkit")
    return result.exit_code, result.stdout, result.stderr


def test_a_row_for_each_image_and_patch_size():
    code, out, _ = flops("s2", "--set", "model.depth=1", "--image-size", "256", "512", "--patch", "4", "8x4")
    assert code == 0
    assert [line.split("  ")[:2] for line in out.splitlines()[1:]] == [
        ["256 x 256", "4 x 4"],
        ["256 x 256", "8 x 4"],
        ["512 x 512", "4 x 4"],
        ["512 x 512", "8 x 4"],
    ]


def test_the_paper_stands_beside_its_models_alone():
    code, out, _ = flops("s2", "--patch", "2", "4x8")
    assert code == 0
    header, first, second = (line.split() for line in out.splitlines())
    assert header[-2:] == ["paper", "GMACs"]
    assert [first[i] for i in (6, 7, 8, 9, 10, -1)] == ["256", "32,963,360", "6.056", "12.111", "36.334", "6.06"]
    assert second[-1] == "-"


def test_json_has_every_part():
    code, out, _ = flops("s2", "--json", "--set", "model.depth=2", "--patch", "8")
    assert code == 0
    [found] = json.loads(out)
    assert (found["patch"], found["tokens"], found["latent"]) == ([8, 8], 16, [4, 32, 32])
    assert found["macs"]["training"] == 3 * found["macs"]["forward"]
    assert found["activations"] > 0


def test_activations_that_cannot_be_counted_are_a_dash():
    code, out, _ = flops("s8", "--set", "model.block.attention='flex'", "--set", "model.block.attention_dropout=0.1")
    assert code == 0
    assert out.split()[-2:] == ["-", "0.36"]


@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        ("s2", ["--patch", "3"], "patch_size (3) does not divide the height of the model's input (32)"),
        ("s2", ["--image-size", "260"], "autoencoder.downsampling: downsampling (8) does not divide the height"),
        ("fashion", ["--image-size", "64"], "dataset.image_size: image_size (64) must be 28"),
    ],
)
def test_a_size_that_does_not_fit(recipe, words, message):
    code, out, err = flops(recipe, *words)
    assert (code, out) == (2, "")
    assert message in err
