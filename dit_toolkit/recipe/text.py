"""How values, types and keys are written in messages: short, on one line, whatever a file contains."""

from __future__ import annotations

import re
import reprlib
import typing
from collections.abc import Iterable
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Union

import attrs

from dit_toolkit.components import FAMILIES

_COMPONENTS = {base: family.removesuffix("s") for family, base in FAMILIES.items()}


class _Repr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 - the signature of reprlib
        """Python refuses to print an int of thousands of digits."""
        return str(x) if x.bit_length() < 128 else f"an int of {x.bit_length()} bits"


_repr = _Repr()
_repr.maxstring = _repr.maxother = 60
_repr.maxlevel = 3


def show(value: Any) -> str:
    """Type and value, shortened: `str '12'`."""
    if isinstance(value, bool):
        return f"bool {str(value).lower()}"
    if isinstance(value, dict):
        return f"a table with {', '.join(map(key_text, list(value)[:4]))}" if value else "an empty table"
    if isinstance(value, (list, tuple)):
        return f"{len(value)} value{'s' if len(value) != 1 else ''} {_repr.repr(list(value))}"
    if isinstance(value, int) and value.bit_length() > 63:
        return f"int of {value.bit_length()} bits, beyond 64"
    return f"{type(value).__name__} {_repr.repr(value)}"


def describe(kind: Any) -> str:
    """What a type wants, in words: `int or [int, int]`."""
    origin, members = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is Literal:
        text = f"one of {', '.join(map(repr, members))}" if len(members) > 1 else repr(members[0])
    elif origin in (Union, UnionType):
        text = " or ".join(describe(member) for member in members if member is not NoneType)
    elif origin is list or (origin is tuple and members[-1:] == (Ellipsis,)):
        text = f"[{describe(members[0]) if members else 'value'}, ...]"
    elif origin is tuple:
        text = f"[{', '.join(map(describe, members))}]"
    elif origin in _COMPONENTS:
        text = f"a table with the {_COMPONENTS[origin]}'s kind"
    elif origin is dict or (isinstance(origin, type) and attrs.has(origin)):
        text = "a table"
    else:
        text = getattr(origin, "__name__", str(origin))
    return text


def key_text(key: object) -> str:
    """A key as TOML would have it, quoted where it must be, shortened."""
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", text) else quote(text)


def quote(text: str) -> str:
    """A text in quotes, shortened."""
    return _repr.repr(text)


def closest(word: object, names: Iterable[object]) -> str | None:
    """The name that a misspelt word may stand for, whatever its case."""
    lower = {str(name).lower(): str(name) for name in names}
    close = get_close_matches(str(word).lower(), lower, 1)
    return lower[close[0]] if close else None


def one_line(error: BaseException) -> str:
    """The message of an error on one line; the type where there is no message or it is no statement about a value."""
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    text = " ".join(message.split()) or type(error).__name__
    text = text if len(text) <= 600 else f"{text[:597]}..."
    return text if isinstance(error, (ValueError, RuntimeError)) or _ours(error) else f"{type(error).__name__}: {text}"


def _ours(error: BaseException) -> bool:
    return type(error).__module__ == "dit_toolkit.errors"


def outside_brackets(text: str) -> list[str]:
    """Split at the commas that are in no brackets or braces: "1,[2,3]" gives 1 and [2,3]."""
    depth, items = 0, [""]
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            items.append("")
        else:
            items[-1] += letter
    return [item.strip() for item in items]
