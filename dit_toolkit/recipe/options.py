"""What can be said about the options of an attrs class without making one: type, range, default, description."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import attrs
from attrs import frozen

from dit_toolkit.errors import DitToolkitError
from dit_toolkit.plugin import option_types
from dit_toolkit.recipe.structure import unstructure
from dit_toolkit.recipe.text import describe


@frozen(kw_only=True)
class Option:
    """One option, as a recipe sees it."""

    name: str
    kind: Any
    """Its type."""
    validator: Any
    required: bool
    default: Any
    """As TOML has it, a component as its table; None where there is none."""
    doc: str

    @property
    def type(self) -> str:
        """The type and its range in words: `int >= 1, <= 1000`."""
        limits = ", ".join(f"{operator} {_number(bound)}" for operator, bound in limits_of(self.validator))
        return f"{describe(self.kind)} {limits}".rstrip()


def options_of(cls: type) -> list[Option]:
    """Options of a component or of a table of the schema, in order."""
    types, docs = option_types(cls), docs_of(cls)
    return [
        Option(
            name=str(option.alias),
            kind=types.get(option.name, Any),
            validator=option.validator,
            required=option.default is attrs.NOTHING,
            default=_default(option.default),
            doc=docs.get(option.name, ""),
        )
        for option in attrs.fields(cast(Any, cls))
        if option.init
    ]


def docs_of(cls: type) -> dict[str, str]:
    """The string under each option in the source of a class and its bases; empty where there is no source."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not attrs.has(owner):
            continue
        try:
            [body] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        except (OSError, TypeError, ValueError, SyntaxError):
            continue
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, text in pairwise(statements):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                value = text.value.value if isinstance(text.value, ast.Constant) else None
                if isinstance(value, str):
                    docs[field.target.id] = " ".join(value.split())
    return docs


def doc_of(cls: type) -> str:
    """The docstring of a class itself, not of its bases or what attrs writes; empty where it has none."""
    return inspect.cleandoc(vars(cls).get("__doc__") or "")


def limits_of(validator: Any) -> Iterator[tuple[str, Any]]:
    """Bounds that attrs' ge, gt, le and lt set, as (operator, number), also within `optional` and lists."""
    for part in flatten(validator):
        if hasattr(part, "compare_op"):
            yield part.compare_op, part.bound


def flatten(validator: Any) -> Iterator[Any]:
    """The single validators that a validator stands for."""
    parts = getattr(validator, "_validators", None)  # attrs' `and_`, or a list of them
    if parts is not None:
        for part in parts:
            yield from flatten(part)
    elif type(validator).__name__ == "_OptionalValidator":
        inner = validator.validator
        for part in inner if isinstance(inner, list | tuple) else [inner]:
            yield from flatten(part)
    elif validator is not None:
        yield validator


def _default(default: Any) -> Any:
    """The value of a default; None where it depends on other options or its component is not to be had."""
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return None if default is attrs.NOTHING else unstructure(default)
    try:
        return None if default.takes_self else unstructure(default.factory())
    except (DitToolkitError, TypeError):
        return None


def _number(bound: Any) -> str:
    return f"{bound:,.15g}" if isinstance(bound, float) else f"{bound:,}" if isinstance(bound, int) else str(bound)
