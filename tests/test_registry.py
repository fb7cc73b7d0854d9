"""The registry, with plugins as they are installed: folders on sys.path with a dist-info each."""

import subprocess
import sys

import pytest
from attrs import field, frozen

from dit_toolkit import registry
from dit_toolkit.components import FAMILIES, Sampler
from dit_toolkit.errors import PluginError, RecipeError
from dit_toolkit.hookspecs import hookimpl
from dit_toolkit.registry import Provider, Registry, use

HEAD = """\
from attrs import frozen
from dit_toolkit.components import Sampler
from dit_toolkit.hookspecs import hookimpl
"""
SAMPLER = """
@frozen(kw_only=True)
class {name}(Sampler):
    kind = "{kind}"
    num_steps: int = 50
    def sample(self, denoiser, noise, *, generator=None): ...
"""
HOOK = """
@hookimpl
def register_samplers():
    return [{name}]
"""


def source(name="Good", kind="good"):
    return HEAD + SAMPLER.format(name=name, kind=kind) + HOOK.format(name=name)


@frozen(kw_only=True)
class Builtin(Sampler):
    kind = "ddim"
    num_steps: int = 50

    def sample(self, denoiser, noise, *, generator=None): ...


class builtins:
    @staticmethod
    @hookimpl
    def register_samplers():
        return [Builtin]


@pytest.fixture(autouse=True)
def fake_builtin(monkeypatch):
    monkeypatch.setitem(sys.modules, "fake_builtin", builtins)
    monkeypatch.delenv("DIT_TOOLKIT_STRICT_PLUGINS", raising=False)
    monkeypatch.delenv("DIT_TOOLKIT_BLOCK_PLUGINS", raising=False)


def make(**options):
    return Registry(builtins=["fake_builtin"], **options)


def alone():
    return make(discover=False)


def status(registry, name):
    return next(info for info in registry.plugins() if info.name == name)


def test_a_kind_resolves_to_the_class_of_a_builtin():
    assert alone().resolve("samplers", "ddim") is Builtin


def test_an_installed_plugin_is_found_with_its_distribution_and_version(install):
    install("good", source(), version="1.2")
    registry = make()
    cls = registry.resolve("samplers", "good")
    assert registry.provider(cls) == Provider("good", "dit-toolkit-plugin-good", "1.2")
    assert registry.kinds("samplers") == ["ddim", "good"]
    info = status(registry, "good")
    assert (info.status, info.families, info.reason) == ("active", {"samplers": ["good"]}, "")


def test_the_hooks_of_one_family_are_called_without_those_of_another(install):
    install("eager", source() + "\n@hookimpl\ndef register_blocks():\n    raise RuntimeError('asked')\n")
    registry = make()
    assert registry.resolve("samplers", "good")
    assert registry.warnings() == []
    assert registry.kinds("blocks") == []
    assert "asked" in registry.warnings()[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError"),
        ("x = 1", "it has no hooks"),
        (
            HEAD + "@hookimpl\ndef register_samplerz(): return []",
            "unknown hook 'register_samplerz'; did you mean 'register_samplers'?",
        ),
        (HEAD + "@hookimpl\ndef register_samplers(all): return []", "Argument(s) {'all'}"),
        (HEAD + "@hookimpl\ndef register_samplers(): 1 / 0", "register_samplers raised ZeroDivisionError"),
        (HEAD + "@hookimpl\ndef register_samplers(): return 3", "register_samplers: 3 is not a class"),
        (HEAD + "@hookimpl\ndef register_samplers(): return ['x']", "'x' is not a class derived from Sampler"),
        (source() + "\n@hookimpl\ndef register_blocks(): return [Good]", "Good is not a class derived from Block"),
        (HEAD + "@frozen\nclass A(Sampler):\n    kind = 'a'\n" + HOOK.format(name="A"), "A does not define sample"),
        (source().replace("@frozen(kw_only=True)", ""), "Good is not an attrs class"),
        (source().replace("    kind", "    other"), "Good has no kind"),
        (source(kind="Good_1"), "Good has the kind 'Good_1'"),
        (source().replace("kind =", "kind: str ="), "Good has an option named kind"),
        (source().replace("num_steps: int", "num_steps: 'Nowhere'"), "name 'Nowhere' is not defined"),
    ],
)
def test_a_broken_plugin_is_one_line_naming_distribution_version_and_reason(install, text, reason, monkeypatch):
    install("bad", text)
    install("good", source("Fine", "fine"))
    registry = make()
    info = status(registry, "bad")
    assert info.status == "failed"
    assert reason in info.reason
    [line] = registry.warnings()
    assert line.startswith("plugin 'bad' (dit-toolkit-plugin-bad 0.1) not loaded: ")
    assert reason in line
    assert "\n" not in line
    assert registry.resolve("samplers", "ddim") is Builtin
    assert registry.resolve("samplers", "fine").kind == "fine"
    with pytest.raises(RecipeError, match=r"note: plugin 'bad' \(dit-toolkit-plugin-bad 0.1\) failed: "):
        registry.resolve("samplers", "unheard-of")

    monkeypatch.setenv("DIT_TOOLKIT_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"'bad' .* not loaded"):
        make().plugins()


def test_a_warning_is_given_once(install):
    install("bad", "import does_not_exist")
    registry = make()
    registry.plugins()
    assert len(registry.warnings()) == 1
    registry.plugins()
    assert registry.warnings() == []


def test_two_providers_of_a_kind_are_an_error_only_when_it_is_used(install):
    install("one", source("One", "same") + SAMPLER.format(name="Other", kind="other").replace("[One]", "[One, Other]"))
    install("two", source("Two", "same"))
    registry = make()
    assert registry.resolve("samplers", "ddim") is Builtin
    assert [info.status for info in registry.plugins()] == ["active"] * 3
    with pytest.raises(PluginError, match="sampler 'same' is offered by more than one plugin") as error:
        registry.resolve("samplers", "same")
    assert "'one' (dit-toolkit-plugin-one 0.1)" in str(error.value)
    assert "'two' (dit-toolkit-plugin-two 0.1)" in str(error.value)


def test_a_clash_with_a_builtin_names_both(install):
    install("mine", source("Mine", "ddim"))
    with pytest.raises(PluginError, match=r"'builtin' \(dit-toolkit [0-9.]+\), 'mine' \(dit-toolkit-plugin-mine 0.1\)"):
        make().resolve("samplers", "ddim")


@pytest.mark.parametrize("name", ["bad", "dit-toolkit-plugin-bad"])
def test_a_blocked_plugin_is_not_imported(install, monkeypatch, name):
    install("bad", "raise RuntimeError('imported')")
    monkeypatch.setenv("DIT_TOOLKIT_BLOCK_PLUGINS", f"other, {name}")
    monkeypatch.setenv("DIT_TOOLKIT_STRICT_PLUGINS", "1")
    assert status(make(), "bad").status == "blocked"


def test_block_switches_off_also_what_is_loaded(install):
    install("mine", source("Mine", "ddim"))
    registry = make()
    registry.plugins()
    registry.block("mine")
    assert registry.resolve("samplers", "ddim") is Builtin
    assert status(registry, "mine").status == "blocked"
    early = make()
    early.block("mine")
    assert early.resolve("samplers", "ddim") is Builtin


def test_two_entry_points_of_one_name_are_both_loaded(install, tmp_path):
    install("good", source())
    install("more", source("More", "more"))
    points = tmp_path / "dit_toolkit_plugin_more-0.1.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("more =", "good ="))
    assert make().kinds("samplers") == ["ddim", "good", "more"]


def test_an_unknown_kind_is_an_error_with_a_suggestion_and_the_kinds():
    with pytest.raises(RecipeError, match="unknown sampler 'ddin'; did you mean 'ddim'\\? available: ddim"):
        alone().resolve("samplers", "ddin")
    with pytest.raises(RecipeError, match="unknown block 'x'; available: none"):
        alone().resolve("blocks", "x")


def test_a_file_is_a_plugin_and_is_loaded_once(tmp_path):
    path = tmp_path / "my_sampler.py"
    path.write_text(source())
    registry = alone()
    registry.load_file(path)
    cls = registry.resolve("samplers", "good")
    registry.load_file(str(path))
    assert registry.resolve("samplers", "good") is cls
    provider = registry.provider(cls)
    assert (provider.plugin, provider.distribution) == ("my_sampler.py", "")
    assert provider.version.startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
        ("x = 1", "it has no hooks"),
        ("def f(:", "SyntaxError"),
        (HEAD + "@hookimpl\ndef register_samplers(): 1 / 0", "ZeroDivisionError"),
        (source(kind="GOOD"), "has the kind 'GOOD'"),
    ],
)
def test_a_broken_file_is_an_error_naming_file_and_reason(tmp_path, text, reason):
    path = tmp_path / "my_sampler.py"
    path.write_text(text)
    registry = alone()
    with pytest.raises(PluginError, match=r"my_sampler\.py") as error:
        registry.load_file(path)
    assert reason in str(error.value)
    assert registry.kinds("samplers") == ["ddim"]
    path.write_text(source())  # may be of the same size, in the same second
    registry.load_file(path)
    assert registry.kinds("samplers") == ["ddim", "good"]
    assert [p.name for p in tmp_path.iterdir()] == ["my_sampler.py"]


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(PluginError, match=r"nowhere\.py': no such file"):
        alone().load_file(tmp_path / "nowhere.py")
    with pytest.raises(PluginError, match=r"not a \.py file"):
        alone().load_file(tmp_path)
    for name in ("a\0b.py", "x" * 5_000 + ".py"):
        with pytest.raises(PluginError, match="plugin file"):
            alone().load_file(tmp_path / name)


def test_a_class_defined_again_in_a_notebook_replaces_the_first():
    def define(steps):
        @frozen(kw_only=True)
        class Midpoint(Builtin):
            kind = "midpoint"
            num_steps: int = steps

        return Midpoint

    registry = alone()
    first, second = define(1), define(2)
    assert registry.register(first) is first
    registry.register(second)
    assert registry.resolve("samplers", "midpoint") is second
    assert registry.provider(second) == Provider("register")
    assert registry.provider(first) == Provider(__name__)


def test_register_refuses_what_is_no_component():
    @frozen
    class Plain:
        x: int = field(default=1)

    with pytest.raises(PluginError, match="is not a component"):
        alone().register(Plain)
    with pytest.raises(PluginError, match="is not an attrs class"):
        alone().register(type("Bare", (Builtin,), {"kind": "bare"}))


def test_use_swaps_the_active_registry():
    with use(alone()) as mine:
        assert registry.active() is mine
        registry.register(Builtin)
        assert mine.resolve("samplers", "ddim") is Builtin
    assert registry.active() is not mine


def test_every_family_has_a_hook():
    manager = Registry(builtins=[], discover=False)
    assert {family: manager.kinds(family) for family in FAMILIES} == {family: [] for family in FAMILIES}


def test_the_registry_and_the_recipes_do_not_import_torch():
    code = "import sys, dit_toolkit.recipe.load; assert not {'torch', 'deepspeed', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
