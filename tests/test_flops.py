from __future__ import annotations

from types import SimpleNamespace

import pytest

from dit_toolkit import flops
from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.flops import macs, memory
from dit_toolkit.patchifiers.conv import Conv

SIZES = {"S": (12, 384), "B": (12, 768), "L": (24, 1024), "XL": (28, 1152), "2B": (30, 2048)}

# Name, latent side, GMACs by the formula, "Gflops" of the DiT paper (arXiv 2212.09748, tables 1 and 4).
TABLE = [
    ("S/8", 32, 0.36, 0.36),
    ("S/4", 32, 1.41, 1.41),
    ("S/2", 32, 6.06, 6.06),
    ("B/8", 32, 1.42, 1.42),
    ("B/4", 32, 5.57, 5.56),
    ("B/2", 32, 23.01, 23.01),
    ("L/8", 32, 5.01, 5.01),
    ("L/4", 32, 19.70, 19.70),
    ("L/2", 32, 80.70, 80.71),
    ("XL/8", 32, 7.39, 7.39),
    ("XL/4", 32, 29.04, 29.05),
    ("XL/2", 32, 118.62, 118.64),
    ("XL/2", 64, 524.54, 524.60),
    ("2B/2", 32, 395.4, None),
]


@pytest.fixture
def recipe(monkeypatch):
    """A maker of the parts of a recipe that the costs depend on."""
    found = {}
    monkeypatch.setattr(flops, "sizes", lambda _: found["sizes"])

    def make(name: str, side: int, block=None):
        size, patch = name.split("/")
        (depth, hidden_size), patch_size = SIZES[size], int(patch)
        found["sizes"] = SimpleNamespace(latent=(4, side, side), tokens=(side // patch_size) ** 2, out_channels=8)
        model = SimpleNamespace(
            hidden_size=hidden_size, depth=depth, block=block or AdaLNZero(), patchifier=Conv(patch_size=patch_size)
        )
        return SimpleNamespace(model=model)

    return make


@pytest.mark.parametrize(("name", "side", "gmacs", "paper"), TABLE)
def test_every_published_size(recipe, name, side, gmacs, paper):
    total = sum(macs(recipe(name, side)).values())
    assert round(total / 1e9, 1 if name == "2B/2" else 2) == gmacs
    if paper:
        assert total / 1e9 == pytest.approx(paper, abs=0.01, rel=2e-4)


def test_the_formula_exactly(recipe):
    d, t, p, depth = 384, 256, 2, 12
    blocks = depth * (12 * t * d**2 + 2 * t**2 * d + 6 * d**2)
    ends = t * p**2 * 4 * d + (256 * d + d**2) + 2 * d**2 + t * d * p**2 * 8
    assert sum(macs(recipe("S/2", 32)).values()) == blocks + ends


def test_by_part(recipe):
    parts = macs(recipe("S/2", 32))
    assert set(parts) == {"conditioning", "modulation", "attention", "mlp", "patch_embed", "head"}
    assert parts["modulation"] == (12 * 6 + 2) * 384**2


def test_conditioning_tokens_and_a_plain_final_layer(recipe):
    class Plain(AdaLNZero):
        adaptive, extra_tokens = False, 2

    parts = macs(recipe("S/8", 32, Plain()))
    assert parts["modulation"] == 12 * 6 * 384**2
    assert parts["mlp"] == 12 * 8 * 18 * 384**2


@pytest.mark.parametrize(
    ("precision", "stages"),
    [
        ("bf16", {0: 2000, 1: 800, 2: 650, 3: 500}),
        ("fp16", {0: 2000, 1: 800, 2: 650, 3: 500}),
        ("fp32", {0: 2000, 1: 1200, 2: 900, 3: 600}),
    ],
)
def test_memory_on_four_processes(precision, stages):
    assert memory(100, world=4, precision=precision) == stages


def test_stages_differ_only_with_more_than_one_process():
    assert len(set(memory(1000, world=1, precision="bf16").values())) == 1


def test_the_example_of_the_zero_paper():
    """Figure 1: 7.5 billion parameters on 64 processes, without a moving average: 120, 31.4, 16.6 and 1.9 GB."""
    average = 4 * 7.5
    found = [value / 1e9 for value in memory(7_500_000_000, world=64, precision="bf16").values()]
    without = [found[0] - average, *(value - average / 64 for value in found[1:])]
    assert [round(value, 1) for value in without] == [120.0, 31.4, 16.6, 1.9]
