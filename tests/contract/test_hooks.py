"""Every hook has an example that is a whole plugin and passes its checks, and a heading in docs/plugins.md."""

import inspect
import re
from importlib import import_module

import pytest

from dit_toolkit import hookspecs
from dit_toolkit.components import FAMILIES
from dit_toolkit.registry import Registry
from dit_toolkit.scaffold import example
from dit_toolkit.testing import checks_of
from tests.conftest import ROOT

HOOKS = {
    name: hook
    for name, hook in vars(hookspecs).items()
    if hasattr(hook, f"{hookspecs.NAME}_spec") and inspect.isfunction(hook)
}


def test_there_is_a_hook_for_every_family():
    assert sorted(HOOKS) == sorted(f"register_{family}" for family in FAMILIES)


@pytest.mark.parametrize("name", HOOKS)
def test_the_example_of_a_hook_is_a_plugin_that_passes_its_checks(name, tmp_path):
    """From a file, through the hook alone, with every check of the family."""
    path, family = tmp_path / f"{name}.py", name.removeprefix("register_")
    path.write_text(example(family))
    registry = Registry(builtins=[], discover=False)
    registry.load_file(path)
    [kind] = registry.kinds(family)
    assert [info.families for info in registry.plugins()] == [{family: [kind]}]
    component = registry.resolve(family, kind)()
    for check in checks_of(component):
        check(component)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_heading_that_names_its_base_and_methods(name):
    base = FAMILIES[name.removeprefix("register_")]
    text = (ROOT / "docs/plugins.md").read_text()
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, f"docs/plugins.md has no heading '## {name}'"
    for word in (base.__name__, *sorted(base.__abstractmethods__)):
        assert f"`{word}" in section[1], f"'## {name}' does not mention `{word}`"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_checks_of_its_own(family):
    module = import_module(f"dit_toolkit.testing.{family}")
    assert any(name.startswith("check_") for name in vars(module))
