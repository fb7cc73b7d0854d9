"""Which classes answer to which kind: the built-in ones, installed plugins, .py files and notebook classes.

Nothing is loaded before it is asked for, and a family's hooks are called only when that family is: a sampler is
resolved without importing a block. A plugin that fails is left out and recorded; it is an error only for a recipe that
needs a kind nobody else offers. `DIT_TOOLKIT_STRICT_PLUGINS=1` makes every failure an error and
`DIT_TOOLKIT_BLOCK_PLUGINS=a,b` leaves plugins out.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import pluggy
from attrs import define, field, frozen

from dit_toolkit import hookspecs
from dit_toolkit._version import __version__
from dit_toolkit.components import FAMILIES, Component, family_of
from dit_toolkit.errors import PluginError, RecipeError
from dit_toolkit.plugin import (
    Provider,
    call_hook,
    check_api,
    check_class,
    clash_of,
    hooks_of,
    import_file,
    provider_of,
    reason,
    short,
)

BUILTINS = ("dit_toolkit.builtin",)

C = TypeVar("C", bound=type)


@frozen
class PluginInfo:
    """One line of the `plugins` command."""

    name: str
    distribution: str
    version: str
    families: dict[str, list[str]]
    """Kinds by family."""
    status: Literal["active", "blocked", "failed"]
    reason: str = ""


@define
class _Plugin:
    provider: Provider
    offers: dict[str, list[type[Component]]] = field(factory=dict)
    """Classes by family, for the families asked so far."""
    status: Literal["active", "blocked", "failed"] = "active"
    reason: str = ""


class Registry:
    """The plugins of a process. Each use loads what it needs; see the module for what happens to broken plugins."""

    def __init__(self, *, builtins: Sequence[str] = BUILTINS, discover: bool = True) -> None:
        """Make a registry of built-in modules (by name) and, with `discover`, of the installed plugins."""
        self._builtins = tuple(builtins)
        self._discover = discover
        self._loaded = False
        self._manager = pluggy.PluginManager(hookspecs.NAME)
        self._manager.add_hookspecs(hookspecs)
        self._plugins: dict[str, _Plugin] = {}
        self._blocked = set(filter(None, map(str.strip, os.environ.get("DIT_TOOLKIT_BLOCK_PLUGINS", "").split(","))))
        self._warnings: list[str] = []
        self._warned: set[str] = set()

    def resolve(self, family: str, kind: str) -> type[Component]:
        """Return the class of a kind.

        Raises:
            RecipeError: nobody offers the kind; the message suggests, lists the kinds and names failed plugins.
            PluginError: more than one plugin offers it.
        """
        found = [(plugin, cls) for plugin, cls in self._offers(family) if cls.kind == kind]
        if clash := clash_of(family, kind, ((plugin.provider, cls) for plugin, cls in found)):
            raise PluginError(clash)
        if found:
            return found[0][1]
        word = family.removesuffix("s")
        kinds = self.kinds(family)
        close = get_close_matches(kind, kinds, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        message = f"unknown {word} '{short(kind)}'; {hint}available: {', '.join(kinds) or 'none'}"
        failed = [
            f"plugin {plugin.provider} failed: {plugin.reason}"
            if plugin.status == "failed"
            else f"plugin {plugin.provider} is switched off"
            for plugin in self._plugins.values()
            if plugin.status != "active"
        ]
        raise RecipeError("; note: ".join([message, *failed]))

    def kinds(self, family: str) -> list[str]:
        """Names of the kinds of a family, sorted."""
        return sorted({cls.kind for _, cls in self._offers(family)})

    def provider(self, cls: type[Component]) -> Provider:
        """Say which plugin offers a class; for a class nobody registered, its module."""
        for plugin, offered in self._offers(family_of(cls)):
            if offered is cls:
                return plugin.provider
        return Provider(cls.__module__)

    def plugins(self) -> list[PluginInfo]:
        """Load everything and list it: built-ins, installed plugins, files, classes registered in Python."""
        for family in FAMILIES:
            found = list(self._offers(family))
            for kind in dict.fromkeys(cls.kind for _, cls in found):
                if clash := clash_of(family, kind, ((plugin.provider, cls) for plugin, cls in found)):
                    self._warn(clash)
        return [
            PluginInfo(
                name=plugin.provider.plugin,
                distribution=plugin.provider.distribution,
                version=plugin.provider.version,
                families={
                    family: sorted(cls.kind for cls in plugin.offers[family])
                    for family in FAMILIES
                    if plugin.offers.get(family)
                },
                status=plugin.status,
                reason=plugin.reason,
            )
            for plugin in self._plugins.values()
        ]

    def warnings(self) -> list[str]:
        """Return the failures not returned before, one line each; loads nothing."""
        lines, self._warnings = self._warnings, []
        return lines

    def register(self, cls: C) -> C:
        """Offer a class defined in Python; usable as a decorator. A class of the same name is replaced by the new one.

        Raises:
            PluginError: it is no complete component class.
        """
        try:
            family = family_of(cls)
        except TypeError as error:
            raise PluginError(str(error)) from None
        check_class(cls, family, f"register({cls.__name__})")
        self._load()
        plugin = self._plugins.setdefault("register", _Plugin(Provider("register")))
        name = (cls.__module__, cls.__qualname__)
        kept = [old for old in plugin.offers.get(family, []) if (old.__module__, old.__qualname__) != name]
        plugin.offers[family] = [*kept, cls]
        return cls

    def load_file(self, path: str | Path) -> None:
        """Load a plugin from a .py file; the same file twice is loaded once.

        Raises:
            PluginError: naming the file, if it is missing, fails to run or offers no sound component.
        """
        self._load()
        path = Path(path)
        try:
            name = str(path.resolve())
            if name in self._plugins:
                return
            if path.is_dir() or path.suffix != ".py":
                raise PluginError("not a .py file")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        except (OSError, RuntimeError, ValueError, PluginError) as error:
            why = "no such file" if isinstance(error, FileNotFoundError) else reason(error)
            raise PluginError(f"plugin file {short(repr(str(path)))}: {why}") from None
        provider = Provider(path.name, version=f"sha256:{digest}")
        try:
            self._add(name, provider, partial(import_file, path))
            for family in FAMILIES:  # a file is named by the user: its faults are errors at once
                for plugin, function in self._hooks(family):
                    if plugin.provider is provider:
                        plugin.offers[family] = call_hook(function, family)
        except (Exception, SystemExit) as error:
            self._remove(name)
            raise PluginError(f"plugin file '{path}': {reason(error)}") from error

    def block(self, name: str) -> None:
        """Leave out a plugin, by its name or its distribution's."""
        self._blocked.add(name)
        for key, plugin in self._plugins.items():
            if {plugin.provider.plugin, plugin.provider.distribution} & self._blocked:
                if self._manager.has_plugin(key):
                    self._manager.unregister(name=key)
                plugin.status, plugin.offers, plugin.reason = "blocked", {}, ""

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in self._builtins:
            provider = Provider("builtin", "dit-toolkit", __version__)
            self._try(module, provider, partial(importlib.import_module, module))
        for entry in importlib.metadata.entry_points(group=hookspecs.NAME) if self._discover else ():
            provider = provider_of(entry)
            self._try(f"{provider.distribution}:{entry.name}", provider, entry.load)

    def _try(self, name: str, provider: Provider, load: Callable[[], object]) -> None:
        """Load one plugin, recording a failure."""
        if {provider.plugin, provider.distribution} & self._blocked:
            self._plugins[name] = _Plugin(provider, status="blocked")
            return
        try:
            self._add(name, provider, load)
        except (Exception, SystemExit) as error:
            self._remove(name)
            self._plugins[name] = _Plugin(provider)
            self._fail(self._plugins[name], error)

    def _add(self, name: str, provider: Provider, load: Callable[[], object]) -> None:
        module = load()
        check_api(module)
        hooks_of(module, self._manager)
        self._manager.register(module, name)
        self._manager.check_pending()
        self._plugins[name] = _Plugin(provider)

    def _remove(self, name: str) -> None:
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)
        self._plugins.pop(name, None)

    def _fail(self, plugin: _Plugin, error: BaseException) -> None:
        plugin.status = "failed"
        plugin.reason = reason(error)
        self._warn(f"plugin {plugin.provider} not loaded: {reason(error)}", error)

    def _warn(self, line: str, error: BaseException | None = None) -> None:
        """Record a failure once; in strict mode it is an error."""
        if os.environ.get("DIT_TOOLKIT_STRICT_PLUGINS", "") not in ("", "0"):
            raise PluginError(line) from error
        if line not in self._warned:
            self._warned.add(line)
            self._warnings.append(line)

    def _hooks(self, family: str) -> Iterator[tuple[_Plugin, Callable[[], object]]]:
        """Plugins with a hook of this family, in the order of their registration."""
        caller = getattr(self._manager.hook, f"register_{family}")
        for hook in reversed(caller.get_hookimpls()):
            yield self._plugins[hook.plugin_name], hook.function

    def _offers(self, family: str) -> Iterator[tuple[_Plugin, type[Component]]]:
        """Every class of a family, calling the hooks not called before, one at a time."""
        self._load()
        for plugin, function in self._hooks(family):
            if family not in plugin.offers:
                try:
                    plugin.offers[family] = call_hook(function, family)
                except (Exception, SystemExit) as error:
                    self._fail(plugin, error)
                    plugin.offers[family] = []
        for plugin in self._plugins.values():
            for cls in plugin.offers.get(family, []):
                yield plugin, cls


_active: Registry | None = None


def active() -> Registry:
    """Return the registry of this process; made, still empty, on first use."""
    global _active
    if _active is None:
        _active = Registry()
    return _active


@contextmanager
def use(registry: Registry) -> Iterator[Registry]:
    """Make another registry the active one within a `with` block."""
    global _active
    previous, _active = _active, registry
    try:
        yield registry
    finally:
        _active = previous


def register(cls: C) -> C:
    """Offer a component class defined in Python, such as in a notebook; see `Registry.register`."""
    return active().register(cls)
