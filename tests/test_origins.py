"""Runs whose components came from a plugin that is another one now, or gone."""

import json

import pytest
from click.testing import CliRunner

import dit_toolkit as dit
from dit_toolkit.registry import Registry, use
from dit_toolkit.run import run
from tests.conftest import ROOT, SMALL

PLUGIN = """\
from attrs import frozen
from dit_toolkit import Metric, hookimpl
from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.samplers.heun import Heun

@frozen(kw_only=True)
class Registers(AdaLNZero):
    kind = "registers"

@frozen(kw_only=True)
class Restart(Heun):
    kind = "restart"

@frozen(kw_only=True)
class Nice(Metric):
    kind = "nice"
    higher_is_better = True
    def compute(self, samples, real):
        return 1.0

@hookimpl
def register_blocks():
    return [Registers]

@hookimpl
def register_samplers():
    return [Restart]

@hookimpl
def register_metrics():
    return [Nice]
"""
WANTED = [
    'model.block={kind="registers"}',
    'sample.sampler={kind="restart", num_steps=2}',
    'evaluate.metrics=[{kind="nice"}]',
]


def trained(folder, *plugins, steps=2):
    recipe = dit.load_recipe(
        ROOT / "recipes/fashion.toml", set=[*SMALL, *WANTED, f"train.max_steps={steps}"], plugins=plugins
    )
    return run(recipe, name="run", out=folder / "run", stages=["train"])


def draw(folder, *options):
    from dit_toolkit.cli import cli

    out = folder / f"{len(list(folder.glob('*.npz')))}.npz"
    with use(Registry()):
        return CliRunner().invoke(
            cli, ["sample", str(folder / "run"), "--num-samples", "1", "--out", str(out), *options]
        )


def test_another_version_warns_and_a_missing_plugin_says_what_to_install(install, tmp_path, capsys):
    info = install("registers", PLUGIN, version="0.1")
    with use(Registry()):
        trained(tmp_path)
    [checkpoint] = (tmp_path / "run/checkpoints").iterdir()
    for folder in (tmp_path / "run", checkpoint):
        stored = json.loads((folder / "provenance.json").read_text())["components"]
        assert stored["model.block"] == {
            "kind": "registers",
            "plugin": "registers",
            "distribution": "dit-toolkit-plugin-registers",
            "version": "0.1",
        }
    same = draw(tmp_path)
    assert (same.exit_code, same.stderr.count("warning")) == (0, 0)

    metadata = info / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 0.1", "Version: 0.2"))
    was = f"{checkpoint.name} was made with dit-toolkit-plugin-registers 0.1, here it is "
    lines = [
        f"warning: model.block 'registers': {was}dit-toolkit-plugin-registers 0.2",
        f"warning: sample.sampler 'restart': {was}dit-toolkit-plugin-registers 0.2",
    ]
    other = draw(tmp_path)
    assert other.exit_code == 0
    assert [line for line in other.stderr.splitlines() if "warning" in line] == lines
    capsys.readouterr()
    with use(Registry()):
        trained(tmp_path, steps=3)
    resumed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert resumed == [lines[0]]

    for file in info.iterdir():
        file.unlink()
    info.rmdir()
    gone = draw(tmp_path)
    assert gone.exit_code == 2
    block, sampler = gone.stderr.splitlines()
    install_it = "; it was made with dit-toolkit-plugin-registers 0.2: pip install dit-toolkit-plugin-registers==0.2"
    assert block.startswith("error: model.block.kind: unknown block 'registers'; ")
    assert block.endswith(install_it)
    assert sampler.startswith("error: sample.sampler.kind: unknown sampler 'restart'; ")
    assert sampler.endswith(install_it)


def test_a_missing_file_says_how_to_load_it_and_missing_metrics_and_backends_stop_nothing(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    with use(Registry()):
        trained(tmp_path, file)
    gone = draw(tmp_path)
    assert gone.exit_code == 2
    assert all(line.endswith(": use --plugin mine.py") for line in gone.stderr.splitlines())
    assert draw(tmp_path, "--plugin", str(file)).exit_code == 0
    [checkpoint] = (tmp_path / "run/checkpoints").iterdir()
    recipe = checkpoint / "recipe.toml"
    for kind in ("nice", "single"):
        recipe.write_text(recipe.read_text().replace(f'kind = "{kind}"', 'kind = "nowhere"'))
    with use(Registry()):
        assert dit.load(checkpoint, plugins=[str(file)]).recipe.evaluate.metrics == []


@pytest.mark.parametrize("text", [None, "", "[]", '{"components": 3}', '{"components": {"model.block": 3}}'])
def test_provenance_that_cannot_be_read_is_passed_over(tmp_path, text):
    from dit_toolkit.recipe.origins import read_origins

    if text is not None:
        (tmp_path / "provenance.json").write_text(text)
    assert read_origins(tmp_path) == {}
