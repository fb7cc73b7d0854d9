from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

GMACS = {"attention": 3 * 10**9, "patch_embed": 10**9}


@pytest.fixture
def costs(recipe, fake):
    """Fakes of what `check` asks about the recipe; the model has 10 parameters, 8 of them trainable."""
    import torch

    def build_model(_recipe):
        model = torch.nn.Linear(4, 2)
        model.bias.requires_grad_(False)
        assert model.weight.is_meta
        return model

    sizes = SimpleNamespace(image=(3, 64, 32), latent=(4, 8, 4), grid=(4, 2), tokens=8, out_channels=8)
    fake("recipe.sizes", sizes=lambda _: sizes)
    fake("flops", macs=lambda _: GMACS, memory=lambda p, *, world, precision: {0: p * 2**30, 1: p * 2**30 // world})
    fake("build", build_model=build_model)
    fake("nn.dit", count_parameters=lambda model: sum(parameter.numel() for parameter in model.parameters()))
    return recipe


def test_show(invoke, recipe):
    result = invoke("show", recipe, "--set", "seed=0")
    assert (result.exit_code, result.stdout) == (0, "seed = 0\n")


def test_check(invoke, costs):
    result = invoke("check", costs, "--procs", "4")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "image       3 x 64 x 32",
        "latent      4 x 8 x 4",
        "tokens      8 (4 x 2)",
        "parameters  10 (8 trainable)",
        "",
        "for one image           GMACs  GFLOPs",
        "attention               3.000   6.000",
        "patch embed             1.000   2.000",
        "one forward pass        4.000   8.000",
        "training on one image  12.000  24.000",
        "",
        "model state on each of 4 process(es), bf16    GiB",
        "ZeRO 0                                      8.000",
        "ZeRO 1                                      2.000",
    ]


def test_check_as_json(invoke, costs):
    found = json.loads(invoke("check", costs, "--json").stdout)
    assert found["parameters"] == {"total": 10, "trainable": 8}
    assert found["macs"] == {**GMACS, "forward": 4 * 10**9, "training": 12 * 10**9}
    assert found["flops"] == {part: 2 * count for part, count in found["macs"].items()}
    assert found["memory"] == {"processes": 1, "precision": "bf16", "bytes": {"zero-0": 8 * 2**30, "zero-1": 8 * 2**30}}
