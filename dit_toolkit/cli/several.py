"""Options that take several values after one flag: `--patch 2 4 8`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click
    """A side, `8`, or height by width, `4x2`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a positive int, or two as a tuple."""
        if not isinstance(value, str):
            return value
        if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})?", value, re.ASCII):
            self.fail(f"{value!r} is no size such as 8 or 4x2.", param, ctx)
        sides = tuple(map(int, value.split("x")))
        return sides if len(sides) == 2 else sides[0]


class Several(click.Option):
    """An option of a `Spread` command that takes all the values which follow its flag."""


def several_option(flag: str, *, type: Any, help: str) -> Callable[[F], F]:
    """Make an option with several values."""
    return click.option(flag, cls=Several, multiple=True, type=type, metavar="N...", help=help)


class Spread(click.Command):
    """A command that reads `--patch 2 4 8` as `--patch 2 --patch 4 --patch 8`.

    What the type of the option cannot read ends its values, so that an argument may follow them.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the flag before every value but the first, which it has."""
        options = {flag: option for option in self.params if isinstance(option, Several) for flag in option.opts}
        spread: list[str] = []
        flag = ""
        for index, word in enumerate(args):
            if word == "--":
                spread += args[index:]
                break
            if flag and spread[-1] != flag and _reads(options[flag], word, ctx):
                spread.append(flag)
            elif spread[-1:] != [flag]:
                name, _, value = word.partition("=")
                flag = name if name in options else ""
                if flag and value:
                    spread.append(flag)
                    word = value
            spread.append(word)
        return super().parse_args(ctx, spread)


def _reads(option: click.Option, word: str, ctx: click.Context) -> bool:
    try:
        option.type.convert(word, option, ctx)
    except click.BadParameter:
        return False
    return True
