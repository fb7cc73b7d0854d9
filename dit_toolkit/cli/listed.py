"""Components named on the command line: `ddim:20`, `fid`, or a TOML table."""

from __future__ import annotations

from typing import Any, TypeVar

import tomli

from dit_toolkit.components import Component
from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.text import outside_brackets

C = TypeVar("C", bound=Component)


def parse(text: str, base: type[C], flag: str, *, number: str | None = None) -> tuple[list[C], list[str]]:
    """Make the components of a list such as `ddim:20,{kind="heun",num_steps=8}`, and a line for each fault.

    Args:
        text: what was given, separated by commas.
        base: of the family.
        flag: by which it was given.
        number: the option that `KIND:NUMBER` sets, if there is one.
    """
    from dit_toolkit.recipe.structure import structure

    short = f", KIND:{number.rpartition('_')[2].upper()}" if number else ""
    found, lines = [], []
    for item in filter(None, outside_brackets(text)):
        try:
            found.append(structure(_table(item, number), base))
        except ValueError:
            lines.append(f"{flag} {item}: expected KIND{short} or a TOML table")
        except RecipeError as error:
            lines += [f"{flag} {item}: {line}" for line in error.lines]
    return found, lines


def _table(item: str, number: str | None) -> dict[str, Any]:
    """The TOML table of one component; ValueError where it is none."""
    if item.startswith("{"):
        table: dict[str, Any] = tomli.loads(f"component = {item}")["component"]
        return table
    kind, colon, value = item.partition(":")
    if colon and number is None:
        raise ValueError(item)
    return {"kind": kind.strip(), number: int(value)} if colon and number else {"kind": kind}
