"""A new plugin package, made of the complete plugin in the docstring of a family's hook."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from textwrap import dedent

from dit_toolkit import hookspecs
from dit_toolkit._version import __version__
from dit_toolkit.errors import PluginError
from dit_toolkit.plugin import KIND

PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "dit-toolkit-plugin-{name}"
version = "0.1.0"
description = "{summary}"
readme = "README.md"
requires-python = ">=3.10"
dependencies = ["dit-toolkit>={version}"]
keywords = ["dit-toolkit-plugin"]

[project.optional-dependencies]
test = ["pytest>=8.2"]

[project.entry-points.dit_toolkit]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
"""

README = """\
# dit-toolkit-plugin-{name}

{summary}

    pip install dit-toolkit-plugin-{name}

Then a recipe of dit-toolkit can say `kind = "{name}"`; `dit-toolkit plugins show {name}` prints the options.
`pip install -e ".[test]" && pytest` runs the checks that every {word} must pass.
"""

TEST = """\
from dit_toolkit.testing import parametrize_with_checks
from {module} import {title}


@parametrize_with_checks([{title}()])
def test_contract(component, check):
    check(component)
"""

WORKFLOW = """\
name: test
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install -e ".[test]"
      - run: pytest
"""


def example(family: str) -> str:
    """The source of the complete plugin in the docstring of a family's hook."""
    _, _, code = (inspect.getdoc(getattr(hookspecs, f"register_{family}")) or "").partition("::\n")
    return dedent(code).lstrip("\n")


def new_package(name: str, family: str, parent: Path) -> Path:
    """Write a package whose tests pass as they are into `parent/dit-toolkit-plugin-<name>`; returns that folder.

    Args:
        name: kind of the new component, in lower case with hyphens.

    Raises:
        PluginError: the name is no kind, or the folder exists.
    """
    if not KIND.fullmatch(name):
        raise PluginError(f"{name!r} is no kind: write it in lower case, words joined by hyphens, such as my-sampler")
    folder = parent / f"dit-toolkit-plugin-{name}"
    if folder.exists():
        raise PluginError(f"{folder}: exists already; choose another name or remove it")
    module, title, source = (
        f"dit_toolkit_plugin_{name.replace('-', '_')}",
        _title(name),
        _renamed(example(family), name),
    )
    [cls] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == title]
    summary = (ast.get_docstring(cls) or "").splitlines()[0]
    values = {
        "name": name,
        "module": module,
        "title": title,
        "word": family.removesuffix("s"),
        "summary": summary.replace('"', "'"),
        "version": __version__,
    }
    files = {
        f"{module}.py": f'"""{summary}"""\n\n{source}',
        "pyproject.toml": PYPROJECT.format(**values),
        "README.md": README.format(**values),
        f"tests/test_{module}.py": TEST.format(**values),
        ".github/workflows/test.yml": WORKFLOW,
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def _title(name: str) -> str:
    """Class name of a kind: `my-sampler` is `MySampler`."""
    return "".join(word.capitalize() for word in name.split("-"))


def _renamed(source: str, name: str) -> str:
    """Give the one component of a plugin's source another kind and, after it, another class name."""
    [old] = re.findall(r"^    return \[(\w+)\]$", source, re.M)
    source = re.sub(r'^    kind = ".*"$', f'    kind = "{name}"', source, flags=re.M)
    return re.sub(rf"(?<!\.)\b{old}\b", _title(name), source)  # but not torch's class of that name
