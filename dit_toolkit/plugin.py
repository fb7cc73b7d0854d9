"""One plugin: where it comes from, how its hooks are called, and what its classes must be."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any, cast, get_type_hints

import attrs
import pluggy
from attrs import frozen

from dit_toolkit._version import __version__
from dit_toolkit.components import FAMILIES, Component
from dit_toolkit.errors import PluginError
from dit_toolkit.hookspecs import API

HOOKS = {f"register_{family}": family for family in FAMILIES}
KIND = re.compile(r"[a-z0-9]+\+*(-[a-z0-9]+\+*)*")


@frozen
class Provider:
    """Who offers a class. A .py file has no distribution, and the hash of its text as its version."""

    plugin: str
    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}".strip()
        return f"'{self.plugin}' ({origin})" if origin else f"'{self.plugin}'"


def provider_of(entry: EntryPoint) -> Provider:
    """Who offers an entry point; a distribution with damaged metadata has no name."""
    with suppress(Exception):
        if entry.dist:
            return Provider(entry.name, entry.dist.name or "", entry.dist.version or "")
    return Provider(entry.name)


def clash_of(family: str, kind: str, offered: Iterable[tuple[Provider, type[Component]]]) -> str:
    """What is wrong where different classes of a family have one kind; nothing otherwise."""
    found = [(provider, cls) for provider, cls in offered if cls.kind == kind]
    if len({cls for _, cls in found}) < 2:
        return ""
    names = ", ".join(dict.fromkeys(str(provider) for provider, _ in found))
    word = family.removesuffix("s")
    return f"{word} '{kind}' is offered by more than one plugin: {names}; switch all but one off"


def check_api(thing: object) -> None:
    """Refuse a module or class that was built for a future plugin API, by its `DIT_TOOLKIT_API`."""
    api = getattr(thing, "DIT_TOOLKIT_API", API)
    if type(api) is not int or api < 1:
        raise PluginError(f"DIT_TOOLKIT_API must be a whole number such as {API}, got {short(repr(api))}")
    if api > API:
        raise PluginError(
            f"it is built for plugin API {api}, and dit-toolkit {__version__} has {API}; "
            "install a newer dit-toolkit or an older version of the plugin"
        )


def hooks_of(module: object, manager: pluggy.PluginManager) -> list[str]:
    """Names of the hooks a plugin implements; PluginError for an unknown one, or for none at all."""
    options = {name: manager.parse_hookimpl_opts(module, name) for name in dir(module)}
    hooks = [found.get("specname") or name for name, found in options.items() if found is not None]
    for hook in hooks:
        if hook not in HOOKS:
            close = get_close_matches(hook, HOOKS, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"known hooks: {', '.join(HOOKS)}"
            raise PluginError(f"unknown hook '{hook}'; {hint}")
    if not hooks:
        raise PluginError("it has no hooks; mark a function such as register_samplers with @hookimpl")
    return hooks


def call_hook(function: Callable[[], object], family: str) -> list[type[Component]]:
    """Call one hook and check what it returns."""
    hook = f"register_{family}"
    try:
        found = function()
        classes: list[Any] = list(found) if isinstance(found, Iterable) and not isinstance(found, type) else [found]
    except (Exception, SystemExit) as error:
        raise PluginError(f"{hook} raised {reason(error)}") from error
    for cls in classes:
        check_class(cls, family, hook)
    return list(dict.fromkeys(classes))


def check_class(cls: Any, family: str, source: str) -> None:
    """Refuse what is not a complete component class of the family."""
    base = FAMILIES[family]
    name = f"{source}: {getattr(cls, '__name__', None) or short(repr(cls))}"
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PluginError(f"{name} is not a class derived from {base.__name__}")
    if inspect.isabstract(cls):
        raise PluginError(f"{name} does not define {', '.join(sorted(cls.__abstractmethods__))}")
    if "__attrs_attrs__" not in vars(cls):
        raise PluginError(f"{name} is not an attrs class; decorate it with @attrs.frozen(kw_only=True)")
    if "kind" in attrs.fields_dict(cast(Any, cls)):
        raise PluginError(f'{name} has an option named kind; write kind = "..." without a type')
    kind = getattr(cls, "kind", None)
    if not (isinstance(kind, str) and KIND.fullmatch(kind)):
        seen = "has no kind" if kind is None else f"has the kind {short(repr(kind))}"
        raise PluginError(f'{name} {seen}; write kind = "..." in lower case, words joined by hyphens')
    try:
        check_api(cls)
    except PluginError as error:
        raise PluginError(f"{name}: {error}") from None
    for option in attrs.fields(cast(Any, cls)):
        if _is_mutable(option.default):
            factory = type(option.default).__name__ if isinstance(option.default, list | dict | set) else "..."
            raise PluginError(
                f"{name}: option {option.name} has the mutable default {short(repr(option.default))}, which all "
                f"instances would share; write {option.name} = field(factory={factory})"
            )
    try:
        option_types(cls)
    except Exception as error:
        raise PluginError(f"{name}: a type of its options cannot be found at run time ({reason(error)})") from error


def _is_mutable(value: object) -> bool:
    """Whether a value has no hash, as a list, or a tuple with a list in it."""
    try:
        hash(value)
    except TypeError:
        return True
    return False


def option_types(cls: type) -> dict[str, Any]:
    """Types of the options of an attrs class by name; NameError for one imported for type checkers only."""
    options = {option.name for option in attrs.fields(cast(Any, cls)) if option.init}
    types: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        written = {
            name: kind
            for name, kind in inspect.get_annotations(owner).items()
            if name in options and "ClassVar" not in str(kind)  # a subclass may make a base's fact an option
        }
        holder = SimpleNamespace(__annotations__=written)
        types |= get_type_hints(holder, vars(sys.modules[owner.__module__]), dict(vars(owner)))
    return types


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the source as it is: cached byte code goes by whole seconds and size, and may be an edit behind."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return self.source_to_code(self.get_data(self.path), self.path)


def import_file(path: Path) -> ModuleType:
    """Run a .py file as a module of its own; leaves no byte code beside it."""
    name = f"_dit_toolkit_file_{path.stem}_{hashlib.sha256(bytes(path.resolve())).hexdigest()[:8]}"
    spec = importlib.util.spec_from_loader(name, _SourceLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise PluginError("cannot be imported")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def reason(error: BaseException) -> str:
    """One line that says why."""
    text = " ".join(str(error).split())
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def short(text: str) -> str:
    """Cut a long text."""
    return text if len(text) <= 200 else f"{text[:90]}...{text[-90:]}"
