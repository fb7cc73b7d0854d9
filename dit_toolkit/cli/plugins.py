"""`plugins`: who offers what, and what its options are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dit_toolkit.cli.options import json_option, load_plugins, plugin_options
from dit_toolkit.cli.shell import Shell, emit, emit_json, table
from dit_toolkit.components import FAMILIES
from dit_toolkit.errors import RecipeError
from dit_toolkit.progress import warn

WORDS = {family.removesuffix("s"): family for family in FAMILIES}


@click.group(cls=Shell, invoke_without_command=True)
@json_option
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List plugins and what they offer.

    Exit code 1 if one failed to load.
    """
    if ctx.invoked_subcommand is not None:
        return

    from dit_toolkit import registry

    records = registry.active().plugins()
    for line in registry.active().warnings():
        warn(line)
    fields = ("name", "distribution", "version", "families", "status", "reason")
    found = [{field: getattr(record, field) for field in fields} for record in records]
    if as_json:
        emit_json(found)
    else:
        rows = [["plugin", "distribution", "version", "status", "offers"]]
        for plugin in found:
            kinds = [f"{family}: {', '.join(offered)}" for family, offered in plugin["families"].items()]
            first, *others = [*filter(None, [plugin["reason"]]), *kinds] or [""]
            rows.append([plugin["name"], plugin["distribution"], plugin["version"], plugin["status"], first])
            rows += [["", "", "", "", line] for line in others]
        emit(table(rows))
    ctx.exit(1 if any(plugin["status"] == "failed" for plugin in found) else 0)


@plugins.command()
@click.argument("name")
@click.option("--family", type=click.Choice(list(WORDS)), required=True, help="What the plugin offers.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder to put it in.")
def new(name: str, family: str, out: Path) -> None:
    """Write a package dit-toolkit-plugin-NAME that works and passes its tests as it is.

    NAME becomes the kind that a recipe uses, such as my-sampler.
    """
    from dit_toolkit.scaffold import new_package

    emit(str(new_package(name, WORDS[family], out)))


@plugins.command()
@click.argument("kind")
@click.option("--family", type=click.Choice(list(WORDS)), help="Which one, where several families have the kind.")
@plugin_options
@json_option
def show(kind: str, family: str | None, files: Sequence[Path], blocked: Sequence[str], as_json: bool) -> None:
    """Print what KIND is and the options it has.

    KIND is the name that a recipe uses, such as ddim.
    """
    with load_plugins(files, blocked):
        found = _describe(kind, WORDS[family] if family else _family(kind))
    emit_json(found) if as_json else emit(_text(found))


def _family(kind: str) -> str:
    """Find the family of a kind; RecipeError where it is in none or in several."""
    from dit_toolkit import registry
    from dit_toolkit.recipe.text import closest, quote

    kinds = {word: registry.active().kinds(family) for word, family in WORDS.items()}
    found = [word for word, offered in kinds.items() if kind in offered]
    if len(found) == 1:
        return WORDS[found[0]]
    if found:
        choices = " or ".join(f"--family {word}" for word in found)
        raise RecipeError(f"{kind}: {' and '.join(found)} have this name; use {choices}")
    every = sorted({name for offered in kinds.values() for name in offered})
    close = closest(kind, every)
    hint = f"did you mean '{close}'? " if close else ""
    raise RecipeError(f"unknown kind {quote(kind)}; {hint}available: {', '.join(every)}")


def _describe(kind: str, family: str) -> dict[str, Any]:
    from dit_toolkit import registry
    from dit_toolkit.recipe.options import doc_of, options_of

    cls = registry.active().resolve(family, kind)
    provider = registry.active().provider(cls)
    return {
        "kind": kind,
        "family": family,
        "plugin": provider.plugin,
        "distribution": provider.distribution,
        "version": provider.version,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "doc": doc_of(cls),
        "options": [
            {
                "name": option.name,
                "type": option.type,
                "required": option.required,
                "default": option.default,
                "doc": option.doc,
            }
            for option in options_of(cls)
        ],
    }


def _text(found: dict[str, Any]) -> str:
    origin = " ".join(filter(None, [found["distribution"] or found["plugin"], found["version"]]))
    parts = [f"{found['family'].removesuffix('s')} {found['kind']}, from {origin}", found["doc"]]
    rows = [[option["name"], option["type"], _default(option), option["doc"]] for option in found["options"]]
    parts.append(table([["option", "type", "default", ""], *rows]) if rows else "It has no options.")
    return "\n\n".join(filter(None, parts))


def _default(option: dict[str, Any]) -> str:
    if option["required"]:
        return "required"
    return "none" if option["default"] is None else json.dumps(option["default"], default=str)
