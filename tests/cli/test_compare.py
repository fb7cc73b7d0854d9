from __future__ import annotations

import json

import attrs
import pytest
from attrs import frozen


@frozen
class Result:
    recommended: str = "heun:3"


@pytest.fixture
def model(fake, calls):
    """Fakes of loading a run, of changing its recipe and of comparing."""

    def load(path, *, weights, plugins, set):
        calls.append(("load", path, weights))
        return ("stored", *set)

    fake("sampling", load=load)

    def compare(trained, samplers, out, **options):
        calls.append((trained, [attrs.evolve(sampler) for sampler in samplers], out, options))
        return Result()

    fake("comparison", compare=compare, faults=lambda *_: [], table=lambda result: f"{result.recommended} is it")
    return calls


def test_a_list_of_samplers(invoke, model, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    words = ["--samplers", 'heun:3, euler,{kind="ddim",num_steps=4,eta=0.5}', "--samplers", "euler:7"]
    result = invoke("compare", tmp_path, *words, "--num-samples", "4", "--cfg-scales", "1.5", "--set", "seed=3")
    assert (result.exit_code, result.stdout) == (0, "heun:3 is it\n"), result.output
    (_, settings, samplers, out, options) = ("", *model[1])
    assert settings == ("stored", "sample.seed=3", "sample.num_samples=4", "sample.cfg_scale=1.5")
    assert [(sampler.kind, sampler.num_steps) for sampler in samplers] == [
        ("heun", 3),
        ("euler", 50),
        ("ddim", 4),
        ("euler", 7),
    ]
    assert samplers[2].eta == 0.5
    assert out == tmp_path / "comparison"
    assert options == {"cfg_scales": [], "metric": None, "tolerance": None}
    assert "comparison.png" in result.stderr


def test_json_and_options(invoke, model, tmp_path):
    words = ["--samplers", "heun:3", "--out", tmp_path / "x", "--metric", "m", "--tolerance", "0.1", "--weights", "raw"]
    result = invoke("compare", tmp_path, *words, "--json")
    assert json.loads(result.stdout) == {"recommended": "heun:3"}
    assert model[0] == ("load", tmp_path, "raw")
    assert model[1][2:] == (tmp_path / "x", {"cfg_scales": [], "metric": "m", "tolerance": 0.1})


def test_every_wrong_sampler_is_named_and_nothing_is_drawn(invoke, model, fake, tmp_path):
    fake("comparison", compare=None, table=None, faults=lambda *_: ["heun:3: does not fit"])
    wrong = 'eular:4,heun:0,heun:x,{kind="heun",num_step=3},{kind,heun:3'
    result = invoke("compare", tmp_path, "--out", tmp_path / "x", "--samplers", wrong)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert [line.split(": ")[1:3] for line in lines[:3]] == [
        ["--samplers eular:4", "kind"],
        ["--samplers heun:0", "num_steps"],
        ["--samplers heun:x", "expected KIND, KIND:STEPS or a TOML table"],
    ]
    assert "did you mean 'num_steps'?" in lines[3]
    assert "expected KIND" in lines[4]
    assert lines[-1] == "error: heun:3: does not fit"
    assert not (tmp_path / "x").exists()


def test_a_checkpoint_needs_a_place_to_write(invoke, tmp_path):
    result = invoke("compare", tmp_path, "--samplers", "heun:3")
    assert result.exit_code == 2
    assert "is no run folder; say with --out where to write" in result.stderr
