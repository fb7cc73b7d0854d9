"""Plugins that are wrong, installed as real distributions: one line each, and everything else keeps working."""

from __future__ import annotations

import pytest

from dit_toolkit.registry import Registry, use
from tests.conftest import ROOT

SOURCE = """\
from attrs import field, frozen
from dit_toolkit import Block, Sampler, hookimpl

@frozen(kw_only=True)
class Mine(Sampler):
    kind = "mine"
    num_steps: int = 50
    def sample(self, denoiser, noise, *, generator=None): ...

@hookimpl
def register_samplers():
    return [Mine]
"""
NAMED = "plugin 'bad' (dit-toolkit-plugin-bad 0.1) not loaded: "
RECIPE = ROOT / "recipes/fashion.toml"
WRONG = {
    "import error": ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
    "wrong hook name": (
        SOURCE.replace("register_samplers", "register_sampler"),
        "unknown hook 'register_sampler'; did you mean 'register_samplers'?",
    ),
    "hook that raises": (
        SOURCE.replace("return [Mine]", "raise RuntimeError('no\\nlicence')"),
        "register_samplers raised RuntimeError: no licence",
    ),
    "wrong family": (
        SOURCE.replace("register_samplers", "register_blocks"),
        "register_blocks: Mine is not a class derived from Block",
    ),
    "mutable default": (
        SOURCE.replace("num_steps: int = 50", "times: list[float] = [1.0]"),
        "register_samplers: Mine: option times has the mutable default [1.0], which all instances would share; "
        "write times = field(factory=list)",
    ),
    "mutable default in field": (
        SOURCE.replace("num_steps: int = 50", "times: dict[str, int] = field(default={})"),
        "register_samplers: Mine: option times has the mutable default {}, which all instances would share; "
        "write times = field(factory=dict)",
    ),
    "future plugin": (
        "DIT_TOOLKIT_API = 2\n" + SOURCE.replace("register_samplers", "register_solvers"),
        "it is built for plugin API 2, and dit-toolkit {version} has 1; "
        "install a newer dit-toolkit or an older version of the plugin",
    ),
    "future class": (
        SOURCE.replace('kind = "mine"', 'kind = "mine"\n    DIT_TOOLKIT_API = 2'),
        "register_samplers: Mine: it is built for plugin API 2, and dit-toolkit {version} has 1; "
        "install a newer dit-toolkit or an older version of the plugin",
    ),
    "API that is no number": (
        'DIT_TOOLKIT_API = "1"\n' + SOURCE,
        "DIT_TOOLKIT_API must be a whole number such as 1, got '1'",
    ),
}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.delenv("DIT_TOOLKIT_STRICT_PLUGINS", raising=False)
    monkeypatch.delenv("DIT_TOOLKIT_BLOCK_PLUGINS", raising=False)
    with use(Registry()) as registry:
        yield registry


@pytest.fixture(params=WRONG)
def line(request, install):
    """Install one wrong plugin; gives the line it must print."""
    from dit_toolkit import __version__

    text, reason = WRONG[request.param]
    install("bad", text)
    return NAMED + reason.replace("{version}", __version__)


def test_one_line_and_the_rest_goes_on(invoke, line):
    assert invoke("--help").exit_code == 0
    listed = invoke("plugins")
    assert listed.exit_code == 1
    assert listed.stderr == f"warning: {line}\n"
    assert "failed" in listed.stdout
    shown = invoke("show", RECIPE)
    assert shown.exit_code == 0
    assert "heun" in shown.stdout


def test_the_line_is_a_warning_where_a_recipe_loads_the_plugin_and_a_note_where_it_needs_it(invoke, line):
    shown = invoke("show", RECIPE)
    assert (shown.exit_code, shown.stderr.splitlines()[1:]) == (0, [])
    wanted = invoke("show", RECIPE, "--set", 'sample.sampler={kind="mine"}')
    assert wanted.exit_code == 2
    reason = line.removeprefix(NAMED)
    if not reason.startswith("register_blocks"):
        assert f"note: plugin 'bad' (dit-toolkit-plugin-bad 0.1) failed: {reason}" in wanted.stderr


def test_strict_mode_raises(invoke, line, monkeypatch):
    monkeypatch.setenv("DIT_TOOLKIT_STRICT_PLUGINS", "1")
    listed = invoke("plugins")
    assert (listed.exit_code, listed.stdout, listed.stderr) == (6, "", f"error: {line}\n")
    assert invoke("--help").exit_code == 0


def test_a_plugin_that_is_left_out_says_nothing(invoke, line):
    shown = invoke("show", RECIPE, "--no-plugin", "bad", "--set", 'sample.sampler={kind="mine"}')
    assert shown.exit_code == 2
    assert "warning" not in shown.stderr
    assert "note: plugin 'bad' (dit-toolkit-plugin-bad 0.1) is switched off" in shown.stderr


CLASHES = {
    "duplicate": ("mine", "'bad' (dit-toolkit-plugin-bad 0.1), 'one' (dit-toolkit-plugin-one 0.1)"),
    "built-in": ("heun", "'builtin' (dit-toolkit {version}), 'bad' (dit-toolkit-plugin-bad 0.1)"),
}


@pytest.mark.parametrize("case", CLASHES)
def test_a_kind_of_two_plugins_is_listed_and_refused_where_it_is_used(invoke, install, monkeypatch, case):
    from dit_toolkit import __version__

    kind, names = CLASHES[case]
    install("bad", SOURCE.replace('"mine"', f'"{kind}"'))
    install("one", SOURCE)
    if case == "built-in":
        monkeypatch.setenv("DIT_TOOLKIT_BLOCK_PLUGINS", "one")
    wanted = ["--set", f'sample.sampler={{kind="{kind}"}}']
    with use(Registry()):
        line = f"sampler '{kind}' is offered by more than one plugin: "
        listed = invoke("plugins")
        assert listed.exit_code == 0
        assert listed.stderr.startswith(f"warning: {line}")
        assert all(name in listed.stderr for name in names.format(version=__version__).split(", "))
        assert invoke("show", RECIPE, "--set", 'sample.sampler={kind="euler"}').stderr == ""
        used = invoke("show", RECIPE, *wanted)
        assert (used.exit_code, used.stderr.count("\n")) == (2, 1)
        assert used.stderr.startswith(f"error: sample.sampler.kind: {line}")
        assert invoke("show", RECIPE, *wanted, "--no-plugin", "bad").exit_code == 0
    monkeypatch.setenv("DIT_TOOLKIT_STRICT_PLUGINS", "1")
    with use(Registry()):
        assert invoke("plugins").exit_code == 6


def test_damaged_metadata_does_not_stop_the_others(invoke, install):
    info = install("bad", SOURCE)
    (info / "METADATA").unlink()
    assert "sample.sampler" in invoke("show", RECIPE, "--set", 'sample.sampler={kind="mine"}').stdout
