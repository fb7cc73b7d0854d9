from __future__ import annotations

import json
from types import SimpleNamespace

import pytest


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
        fake("registry", active=lambda: SimpleNamespace(plugins=lambda: [good, other]))

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
