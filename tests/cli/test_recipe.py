from __future__ import annotations

import json

import attrs
import pytest
import torch

from dit_toolkit.errors import DitToolkitError
from dit_toolkit.flops import Costs
from dit_toolkit.flops.state import State
from dit_toolkit.optimizers import Group
from dit_toolkit.recipe.sizes import Sizes

GMACS = {"attention": 3 * 10**9, "patch_embed": 10**9}
SIZES = Sizes(image=(3, 64, 32), latent=(4, 8, 4), grid=(4, 2), tokens=8, out_channels=8)
GROUPS = [
    Group(rule="muon", weight_decay=0.1, parameters={"a": torch.zeros(2, 2), "b": torch.zeros(2, 1)}),
    Group(rule="adamw", weight_decay=0.0, parameters={"c": torch.zeros(2)}),
]
COSTS = Costs(sizes=SIZES, parameters=10, trainable=8, macs=GMACS, activations=3 * 2**20, paper=None, groups=GROUPS)


@pytest.fixture
def costs(recipe, fake):
    """Fakes of what `check` asks about the recipe, and the costs they tell."""

    def put(costs):
        fake(
            "flops",
            costs_of=lambda _: costs,
            memory=lambda p, *, world, precision, offload: {0: State(p * 2**30, 0), 1: State(p * 2**30 // world, 0)},
            state_options=lambda *_: {"precision": "bf16", "offload": "none"},
        )
        return recipe

    return put


def test_show(invoke, recipe):
    result = invoke("show", recipe, "--set", "seed=0")
    assert (result.exit_code, result.stdout) == (0, "seed = 0\n")


def test_check(invoke, costs):
    result = invoke("check", costs(COSTS), "--procs", "4")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "image        3 x 64 x 32",
        "latent       4 x 8 x 4",
        "tokens       8 (4 x 2)",
        "parameters   10 (8 trainable)",
        "activations  3.000 MiB for each image, bf16",
        "",
        "for one image           GMACs  GFLOPs",
        "attention               3.000   6.000",
        "patch embed             1.000   2.000",
        "one forward pass        4.000   8.000",
        "training on one image  12.000  24.000",
        "",
        "parameter groups  weight decay  tensors  parameters",
        "muon                       0.1        2           6",
        "adamw                        0        1           2",
        "",
        "model state on each of 4 process(es), bf16    GiB",
        "ZeRO 0                                      8.000",
        "ZeRO 1                                      2.000",
    ]


def test_check_as_json(invoke, costs):
    found = json.loads(invoke("check", costs(COSTS), "--json").stdout)
    assert found["parameters"] == {"total": 10, "trainable": 8}
    assert found["macs"] == {**GMACS, "forward": 4 * 10**9, "training": 12 * 10**9}
    assert found["flops"] == {part: 2 * count for part, count in found["macs"].items()}
    assert (found["activations"], found["paper_gmacs"]) == (3 * 2**20, None)
    assert found["groups"][0] == {"rule": "muon", "weight_decay": 0.1, "tensors": 2, "parameters": 6}
    assert found["memory"] == {
        "processes": 1,
        "precision": "bf16",
        "offload": "none",
        "bytes": {"zero-0": 8 * 2**30, "zero-1": 8 * 2**30},
        "offloaded_bytes": {"zero-0": 0, "zero-1": 0},
    }


def test_check_shows_what_is_offloaded(invoke, costs, fake):
    recipe = costs(COSTS)
    fake(
        "flops",
        costs_of=lambda _: COSTS,
        memory=lambda p, *, world, precision, offload: {3: State(2**30, p * 2**30)},
        state_options=lambda *_: {"precision": "bf16", "offload": "all"},
    )
    assert invoke("check", recipe).stdout.splitlines()[-2:] == [
        "model state on each of 1 process(es), bf16    GiB  GiB offloaded",
        "ZeRO 3                                      1.000          8.000",
    ]


def test_check_says_why_activations_are_unknown(invoke, costs):
    unknown = attrs.evolve(COSTS, activations=DitToolkitError("the kernel needs a GPU"))
    result = invoke("check", costs(unknown))
    assert "activations  the kernel needs a GPU" in result.stdout.splitlines()
    assert json.loads(invoke("check", costs(unknown), "--json").stdout)["activations"] is None
