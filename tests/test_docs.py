"""The code blocks of README and docs run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import dit_toolkit as dit
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.registry import Registry, use
from dit_toolkit.testing import Gaussian
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    return [
        pytest.param(path, text, id=f"{path.name}-{number}")
        for path in PAGES
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S))
    ]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    with use(Registry()):
        yield tmp_path


@pytest.mark.parametrize(("path", "text"), blocks("python"))
def test_python_blocks_run(path, text, checkout):
    exec(compile(text, str(path), "exec"), {"__name__": "block"})


@pytest.mark.parametrize(("path", "text"), blocks("console"))
def test_console_blocks_print_what_they_show(path, text, checkout, monkeypatch):
    from dit_toolkit.cli import cli

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # Activations depend on the device.
    for command, shown in re.findall(r"^\$ dit-toolkit (.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
        assert CliRunner().invoke(cli, shlex.split(command)).output.strip() == shown.strip()


@pytest.mark.parametrize(("path", "text"), [block for block in blocks("toml") if block.values[0].name == "training.md"])
def test_tables_of_training_change_a_recipe(path, text, checkout):
    Path("changed.toml").write_text(f'extends = "recipes/fashion.toml"\n\n{text}')
    assert dit.load_recipe("changed.toml") != dit.load_recipe("recipes/fashion.toml")


def test_the_sampler_of_the_readme_is_a_plugin(checkout):
    """The whole file, loaded by name from a recipe, converges at second order."""
    [source] = [
        text for text in re.findall(r"^```python\n(.*?)^```", PAGES[0].read_text(), re.M | re.S) if "Midpoint" in text
    ]
    Path("my_sampler.py").write_text(source)
    recipe = dit.load_recipe(
        "recipes/fashion.toml", plugins=["my_sampler.py"], set=['sample.sampler={kind="midpoint", num_steps=20}']
    )
    sampler = recipe.sample.sampler
    assert (sampler.kind, sampler.num_steps) == ("midpoint", 20)
    noise = torch.linspace(-2, 2, 5).double().view(-1, 1, 1, 1)
    errors = [
        float((type(sampler)(num_steps=n).sample(Gaussian(FlowMatching()), noise) - 0.3 - 0.5 * noise).abs().max())
        for n in (20, 40)
    ]
    assert errors[1] < errors[0] / 3.5


def test_the_readme_begins_with_its_two_commands():
    lines = [line.strip() for line in PAGES[0].read_text().splitlines() if line.startswith("    ")]
    assert lines[:2] == [
        "pip install -e . && dit-toolkit run recipes/fashion.toml",
        'pip install -e ".[test]" && pytest',
    ]
