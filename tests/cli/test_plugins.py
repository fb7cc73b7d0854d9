from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from dit_toolkit import __version__
from dit_toolkit.components import FAMILIES
from dit_toolkit.registry import Registry, use


@pytest.fixture
def records(fake):
    """Two plugins in the registry, the second as it comes."""

    def put(status: str) -> None:
        offered = {"samplers": ["ddim", "ddpm"], "blocks": ["adaln-zero"]}
        good = SimpleNamespace(
            name="builtin", distribution="dit-toolkit", version="0.1", families=offered, status="active", reason=""
        )
        other = SimpleNamespace(
            name="heun", distribution="heun", version="2", families={}, status=status, reason="no module named x"
        )
        fake("registry", active=lambda: SimpleNamespace(plugins=lambda: [good, other], warnings=list))

    return put


def test_a_table(invoke, records):
    records("failed")
    result = invoke("plugins")
    assert result.exit_code == 1
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["plugin", "distribution", "version", "status", "offers"],
        ["builtin", "dit-toolkit", "0.1", "active", "samplers:", "ddim,", "ddpm"],
        ["blocks:", "adaln-zero"],
        ["heun", "heun", "2", "failed", "no", "module", "named", "x"],
    ]


def test_json(invoke, records):
    records("blocked")
    result = invoke("plugins", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found[0]["families"]["samplers"] == ["ddim", "ddpm"]
    assert found[1]["status"] == "blocked"


def test_show_prints_the_options_of_a_kind(invoke):
    result = invoke("plugins", "show", "ddim")
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines[0] == f"sampler ddim, from dit-toolkit {__version__}"
    assert lines[2].startswith("Denoising diffusion implicit models")
    assert lines[4].split() == ["option", "type", "default"]
    assert lines[5].split() == ["num_steps", "int", ">=", "1,", "<=", "1,000,000", "50"]
    assert any(line.startswith("eta ") and "Share of the DDPM noise" in line for line in lines)
    assert invoke("plugins", "show", "identity").stdout.endswith("It has no options.\n")


def test_show_as_json(invoke):
    found = json.loads(invoke("plugins", "show", "ddpm", "--family", "objective", "--json").stdout)
    assert (found["family"], found["distribution"], found["version"]) == ("objectives", "dit-toolkit", __version__)
    [option] = [option for option in found["options"] if option["name"] == "learn_sigma"]
    assert (option["type"], option["required"], option["default"]) == ("bool", False, True)


@pytest.mark.parametrize("family", [*FAMILIES])
def test_show_describes_every_builtin(invoke, family):
    for kind in Registry(discover=False).kinds(family):
        found = json.loads(invoke("plugins", "show", kind, "--family", family.removesuffix("s"), "--json").stdout)
        assert found["doc"]
        assert all(option["required"] or option["default"] is not None or option["type"] for option in found["options"])


def test_show_says_which_kinds_there_are(invoke):
    several = invoke("plugins", "show", "ddpm")
    assert several.exit_code == 2
    assert several.stderr == (
        "error: ddpm: objective and sampler have this name; use --family objective or --family sampler\n"
    )
    unknown = invoke("plugins", "show", "hueen")
    assert unknown.exit_code == 2
    assert "unknown kind 'hueen'; did you mean 'heun'? available: adaln, " in unknown.stderr
    assert "unknown block 'heun'" in invoke("plugins", "show", "heun", "--family", "block").stderr


def test_show_of_a_file(invoke, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from attrs import frozen\nfrom dit_toolkit import Sampler, hookimpl\n"
        "@frozen(kw_only=True)\nclass Mine(Sampler):\n    kind = 'mine'\n    num_steps: int\n"
        "    def sample(self, denoiser, noise, *, generator=None): ...\n"
        "@hookimpl\ndef register_samplers(): return [Mine]\n"
    )
    with use(Registry(discover=False)):
        lines = invoke("plugins", "show", "mine", "--plugin", tmp_path / "mine.py").stdout.splitlines()
    assert lines[0].startswith("sampler mine, from mine.py sha256:")
    assert lines[-1].split() == ["num_steps", "int", "required"]
