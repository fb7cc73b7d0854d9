from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import dit_toolkit
from dit_toolkit.cli import cli


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """One process, whatever the tests are run in; what a command sets goes away again."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def invoke():
    """Run a command line: `invoke("show", path)` gives .stdout, .stderr and .exit_code."""
    return lambda *words: CliRunner().invoke(cli, [str(word) for word in words], prog_name="dit-toolkit")


@pytest.fixture
def fake(monkeypatch):
    """Put a module of the package in place of the real one: `fake("recipe.load", dumps=...)`."""

    def put(name: str, **members: object) -> None:
        module = SimpleNamespace(**members)
        monkeypatch.setitem(sys.modules, f"dit_toolkit.{name}", module)
        if "." not in name:
            monkeypatch.setattr(dit_toolkit, name, module, raising=False)

    return put


@pytest.fixture
def calls():
    """What the fakes were called with."""
    return []


@pytest.fixture
def recipe(tmp_path, fake, calls):
    """A recipe file, and fakes of what loads it."""
    registry = SimpleNamespace(
        block=lambda name: calls.append(("block", name)),
        load_file=lambda path: calls.append(("load_file", path)),
        warnings=lambda: ["plugin x not loaded: no reason"],
    )
    fake("registry", active=lambda: registry)

    def load_recipe(path, *, set=(), plugins=()):
        calls.append(("load_recipe", path, tuple(set), tuple(plugins)))
        return SimpleNamespace(train=SimpleNamespace(precision="bf16"), dataset=SimpleNamespace(check=lambda: None))

    fake(
        "recipe.load",
        load_recipe=load_recipe,
        load_any_recipe=load_recipe,
        dumps=lambda _: "seed = 0\n",
    )
    path = tmp_path / "recipe.toml"
    path.touch()
    return path


@pytest.fixture
def take(invoke, tmp_path):
    """Import the latents of tmp_path/source: `take("cerebras", ...)` gives the result, and a manifest or None."""

    from dit_toolkit.latents.manifest import read_manifest

    def take(format, *words, out="store"):
        result = invoke("import", "latents", format, tmp_path / "source", tmp_path / out, *words)
        path = tmp_path / out / "manifest.json"
        return result, read_manifest(path) if path.exists() else None

    return take
