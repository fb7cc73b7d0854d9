"""Who provided the components of a run, as the `provenance.json` beside its recipe says, and what differs here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

from dit_toolkit import registry
from dit_toolkit.components import Component
from dit_toolkit.recipe.autoencoder import AnyRecipe

Origin = dict[str, str]
"""kind, plugin, distribution and version of one component."""


def origins(recipe: AnyRecipe) -> dict[str, Origin]:
    """Who provides each component of a recipe, by TOML path."""
    found = {}
    for path, component in _components(recipe, ""):
        provider = registry.active().provider(type(component))
        found[path] = {"kind": component.kind, **attrs.asdict(provider)}
    return found


def read_origins(folder: Path) -> dict[str, Origin]:
    """Read what `provenance.json` in a run or checkpoint says; nothing where there is none that can be read."""
    try:
        return parse_origins((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def parse_origins(provenance: str) -> dict[str, Origin]:
    """Take the providers from the text of a provenance; nothing where it is none."""
    try:
        found = json.loads(provenance)["components"]
        return {str(path): {str(key): str(value) for key, value in origin.items()} for path, origin in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def changes(stored: Mapping[str, Origin], name: str, recipe: AnyRecipe, tables: Sequence[str]) -> list[str]:
    """Compare the providers of a recipe's components with those of a run or checkpoint: one line for each that differs.

    Args:
        stored: what its provenance says, see `read_origins`.
        name: what to call it.
        tables: TOML paths of what matters, such as `model`; with everything below them.
    """
    lines = []
    for path, here in origins(recipe).items():
        there = stored.get(path, {})
        if not _within(path, tables) or there.get("kind") != here["kind"] or _name(there) == _name(here):
            continue
        lines.append(f"{path} '{here['kind']}': {name} was made with {_name(there)}, here it is {_name(here)}")
    return lines


def advise(line: str, stored: Mapping[str, Origin], named: Sequence[object]) -> str:
    """Add to a fault of a stored recipe what to install or load, if its component came from something not here.

    Args:
        line: starts with a TOML path.
        named: plugin files of the recipe itself, about which it has a note of its own.
    """
    path = line.partition(":")[0]
    found = [place for place in stored if _within(path, [place])]
    if not found:
        return line
    origin = stored[max(found, key=len)]
    distribution = origin.get("distribution", "")
    if distribution and _installed(distribution) != origin.get("version"):
        return f"{line}; it was made with {_name(origin)}: pip install {distribution}=={origin.get('version')}"
    plugin = origin.get("plugin", "")
    if plugin.endswith(".py") and plugin not in [Path(str(file)).name for file in named]:
        return f"{line}; it was made with {_name(origin)}: use --plugin {plugin}"
    return line


def _within(path: str, tables: Sequence[str]) -> bool:
    return any(path == table or path.startswith((f"{table}.", f"{table}[")) for table in tables)


def _name(origin: Mapping[str, str]) -> str:
    return f"{origin.get('distribution') or origin.get('plugin', '')} {origin.get('version', '')}".strip()


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _components(value: Any, path: str) -> list[tuple[str, Component]]:
    """All components below a value, with their TOML paths."""
    found = [(path, value)] if isinstance(value, Component) else []
    if isinstance(value, list | tuple):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    elif attrs.has(type(value)):
        children = [(f"{path}.{a.name}".lstrip("."), getattr(value, a.name)) for a in attrs.fields(type(value))]
    else:
        return found
    return found + [pair for child_path, child in children for pair in _components(child, child_path)]
