"""The packages in `plugins/` use the public surface alone, and work when installed from their wheels."""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig

import pytest
import tomli

import dit_toolkit
import dit_toolkit.testing
from tests.conftest import ROOT, SMALL

PACKAGES = sorted((ROOT / "plugins").glob("dit-toolkit-plugin-*"))
PUBLIC = {"dit_toolkit": dit_toolkit.__all__, "dit_toolkit.testing": dit_toolkit.testing.__all__}
SOURCES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]


def imports(source):
    """(module, name) of everything that a source text imports, in functions too; the name is "" for a whole module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def private(source):
    """What a source text takes from the toolkit beside its public names."""
    return [
        f"{module}.{name}".rstrip(".")
        for module, name in imports(source)
        if module.partition(".")[0] == "dit_toolkit" and name not in PUBLIC.get(module, ())
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_they_import_public_names_alone(path):
    assert private(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from dit_toolkit import Sampler, hookimpl", []),
        ("from dit_toolkit.testing import Gaussian", []),
        ("from dit_toolkit_plugin_x.nn import Block", []),
        ("from dit_toolkit import nn", ["dit_toolkit.nn"]),
        ("import dit_toolkit.nn.layers", ["dit_toolkit.nn.layers"]),
        ("def f():\n    from dit_toolkit.nn.layers import modulate", ["dit_toolkit.nn.layers.modulate"]),
        ("from dit_toolkit.testing.inputs import randn", ["dit_toolkit.testing.inputs.randn"]),
    ],
)
def test_what_counts_as_private(source, found):
    assert private(source) == found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_each_has_what_a_package_needs(package):
    project = tomli.loads((package / "pyproject.toml").read_text())["project"]
    assert project["name"] == package.name
    assert project["license"] == "Apache-2.0"
    assert "dit-toolkit" in project["dependencies"]
    [module] = project["entry-points"]["dit_toolkit"].values()
    assert module == package.name.replace("-", "_")
    assert "parametrize_with_checks" in "".join(path.read_text() for path in package.glob("tests/test_*.py"))
    assert f"pip install {package.name}\n" in (package / "README.md").read_text()
    assert in_readme(package)


def in_readme(package):
    """The piece of a recipe that a README shows."""
    [text] = re.findall(r"^```toml\n(.*?)^```", (package / "README.md").read_text(), re.M | re.S)
    return text


@pytest.mark.timeout(600)
def test_installed_from_their_wheels_a_recipe_uses_them_by_name_alone(tmp_path):
    """Built, installed outside the tree, and run there in processes of their own, as their READMEs say."""
    wheels, venv, home = (tmp_path / name for name in ("wheels", "venv", "home"))
    home.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "HOME": str(home), "NO_COLOR": "1"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "PYTHONPATH"))} | offline

    def call(*command, **changes):
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env=environment | changes,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}"
        return done.stdout

    def toolkit(*arguments):
        return call(python, "-m", "dit_toolkit", *arguments)

    build = ["wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", wheels]
    call(*pip, *build, ROOT, *PACKAGES)
    # An environment of its own; only what the wheels depend on comes from this one, where the toolkit is editable.
    call(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin/python"
    [site] = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call(*pip, "install", "--no-deps", "--no-index", "--target", site, *sorted(wheels.glob("*.whl")))
    assert not list(site.glob("tests*"))
    where = call(python, "-c", "import dit_toolkit; print(dit_toolkit.__file__)")
    assert where.startswith(str(site))

    found = {plugin["distribution"]: plugin for plugin in json.loads(toolkit("plugins", "--json"))}
    for package, (family, kind) in zip(
        PACKAGES, [("blocks", "registers"), ("samplers", "restart"), ("trackers", "wandb")], strict=True
    ):
        plugin = found[package.name]
        assert (plugin["version"], plugin["status"], plugin["families"]) == ("0.1.0", "active", {family: [kind]})

    recipe = tmp_path / "mine.toml"
    base = f'extends = "{(ROOT / "recipes/fashion.toml").as_posix()}"\n'
    recipe.write_text(base + "".join(map(in_readme, PACKAGES)))
    toolkit("run", recipe, "--out", "run", *(part for change in SMALL for part in ("--set", change)))
    components = json.loads((tmp_path / "run/provenance.json").read_text())["components"]
    assert [components[path] for path in ("model.block", "sample.sampler", "train.trackers[0]")] == [
        {"kind": kind, "plugin": kind, "distribution": f"dit-toolkit-plugin-{kind}", "version": "0.1.0"}
        for kind in ("registers", "restart", "wandb")
    ]
    assert list((tmp_path / "run").glob("report.html"))
    [offline_run] = (tmp_path / "run/wandb").glob("offline-run-*/*.wandb")
    assert offline_run.read_bytes().count(b"loss") >= 4
