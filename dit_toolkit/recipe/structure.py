"""Strict structuring: TOML tables to a `Recipe` and back, with every fault of a recipe reported at once.

An int is not a float, "28" is not 28 and nothing is dropped silently. A table with a `kind` becomes the class which the
registry knows by that name, so that components of plugins are checked like built-in ones.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, overload

import attrs
from cattrs import Converter

from dit_toolkit import registry
from dit_toolkit.components import FAMILIES, Component
from dit_toolkit.errors import DitToolkitError, RecipeError
from dit_toolkit.plugin import option_types
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.text import closest, describe, key_text, one_line, quote, show

T = TypeVar("T")
Fault = tuple[str, str]
"""TOML path and message."""

BASES = {base: family for family, base in FAMILIES.items()}


class _Faults(Exception):
    """Faults found below one value, with paths relative to it."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults


@overload
def structure(data: Mapping[str, Any]) -> Recipe: ...
@overload
def structure(data: Mapping[str, Any], into: type[T]) -> T: ...
def structure(data: Mapping[str, Any], into: Any = Recipe) -> Any:
    """Make a recipe (or another class of the schema, or the component of a family) from TOML tables.

    Raises:
        RecipeError: one line for each unknown or missing key, wrong type, unknown kind or value out of range.
    """
    try:
        return _converter.structure(data, into)
    except _Faults as error:
        raise RecipeError.of(error.faults) from None


def unstructure(recipe: object) -> dict[str, Any]:
    """Turn a recipe, or one component, into TOML tables in the order of the schema; all defaults, no None."""
    return cast("dict[str, Any]", _converter.unstructure(recipe))


def join(path: str, key: str) -> str:
    """Append a key or an index such as `[1]` to a TOML path."""
    return f"{path}.{key}" if path and key and not key.startswith("[") else path + key


def fault(path: str, owner: type, error: BaseException) -> Fault:
    """Place an error raised by a class about its options: at the option its message starts with, else at the table."""
    message = one_line(error)
    first = "".join(re.findall(r"\A'?(\w+)", message))
    if first in attrs.fields_dict(cast(Any, owner)):
        return join(path, first), message.removeprefix(f"{first}: ")
    return path, message


def _wrong(expected: Any, value: Any) -> _Faults:
    return _Faults(("", f"expected {describe(expected)}, got {show(value)}"))


def _collect(results: dict[Any, Any], faults: list[Fault], key: Any, value: Any, kind: Any) -> None:
    """Structure one member of a table or list, adding its faults to the others."""
    place = f"[{key}]" if isinstance(key, int) else key_text(key)
    try:
        results[key] = _converter.structure(value, kind)
    except _Faults as error:
        faults += [(join(place, path), message) for path, message in error.faults]
    except Exception as error:  # an option type with a hook of cattrs' own, such as an Enum
        faults.append((place, one_line(error)))


def _scalar(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise _wrong(kind, value)
    return value


def _int(value: Any, _: type) -> int:
    if type(value) is not int or value.bit_length() > 63:
        raise _wrong(int, value)
    return value


def _float(value: Any, _: type) -> float:
    if type(value) is int and value.bit_length() <= 63:
        return float(value)
    if type(value) is not float:
        raise _wrong(float, value)
    if not math.isfinite(value):
        raise _Faults(("", f"expected a finite float, got {value}"))
    return value


def _sequence(value: Any, kind: Any) -> Any:
    """list[X], tuple[X, ...] and tuples of a fixed length."""
    origin, members = typing.get_origin(kind) or kind, typing.get_args(kind) or (Any, ...)
    if not isinstance(value, (list, tuple)):
        raise _wrong(kind, value)
    if origin is list or members[-1] is Ellipsis:
        members = members[:1] * len(value)
    if len(members) != len(value):
        raise _wrong(kind, value)
    results: dict[Any, Any] = {}
    faults: list[Fault] = []
    for index, (item, member) in enumerate(zip(value, members, strict=True)):
        _collect(results, faults, index, item, member)
    if faults:
        raise _Faults(*faults)
    return origin(results.values())


def _mapping(value: Any, kind: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(kind, value)
    results: dict[Any, Any] = {}
    faults: list[Fault] = []
    for key, item in value.items():
        _collect(results, faults, key, item, (typing.get_args(kind) or (str, Any))[1])
    if faults:
        raise _Faults(*faults)
    return results


def _literal(value: Any, kind: Any) -> Any:
    for choice in typing.get_args(kind):
        if type(choice) is type(value) and choice == value:
            return choice
    close = closest(value, typing.get_args(kind)) if isinstance(value, str) else None
    hint = f"; did you mean '{close}'?" if close else ""
    raise _Faults(("", f"expected {describe(kind)}, got {show(value)}{hint}"))


def _union(value: Any, kind: Any) -> Any:
    members = [member for member in typing.get_args(kind) if member is not NoneType]
    if value is None and len(members) < len(typing.get_args(kind)):
        return None
    tried: list[tuple[Any, _Faults]] = []
    for member in sorted(members, key=lambda member: member is not type(value)):
        try:
            return _converter.structure(value, member)
        except _Faults as error:
            tried.append((member, error))
    inner = [error for _, error in tried if all(path for path, _ in error.faults)]
    if len(tried) == 1 or inner:  # a member of the right shape knows better what is wrong
        raise (inner or [tried[0][1]])[0]
    raise _wrong(kind, value)


def _table(owner: type, value: Any, _: Any = None) -> Any:
    """An attrs class from the table of its options, all of its faults at once."""
    if not isinstance(value, dict):
        raise _wrong(owner, value)
    types = option_types(owner)
    options = {option.alias: option for option in attrs.fields(cast(Any, owner)) if option.init}
    faults = [("", _unknown(key, options, types)) for key in value if key not in options]
    values: dict[str, Any] = {}
    for name, option in options.items():
        if name in value:
            _collect(
                values,
                faults,
                name,
                _over_default(option, value[name], types.get(option.name)),
                types.get(option.name, Any),
            )
        elif option.default is attrs.NOTHING:
            faults.append((name, f"missing; expected {describe(types.get(option.name, Any))}"))
    for name in values:
        faults += _validate(options[name], values[name])
    if faults:
        raise _Faults(*faults)
    try:
        return owner(**values)
    except Exception as error:  # a rule across options, or a default that cannot be made
        raise _Faults(fault("", owner, error)) from None


def _over_default(option: attrs.Attribute[Any], value: Any, kind: Any) -> Any:
    """A component's table without a kind changes the default component of its option, if there is one."""
    default: Any = option.default
    if kind in BASES and isinstance(value, dict) and "kind" not in value and isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return {"kind": default.factory().kind, **value}
    return value


def _validate(option: attrs.Attribute[Any], value: Any) -> Iterable[Fault]:
    """Run the validator of one option: `'depth' must be >= 1: 0` becomes `must be >= 1, got 0`."""
    if option.validator is None or option.converter is not None:
        return
    try:
        option.validator(None, option, value)
    except AttributeError:  # it looks at other options: constructing will run it
        return
    except Exception as error:
        message = one_line(error).removeprefix(f"'{option.name}' ")
        yield str(option.alias), re.sub(r"^(must be [<>]=? \S+): (.*)$", r"\1, got \2", message)


def _unknown(key: Any, options: Mapping[str, Any], types: Mapping[str, Any]) -> str:
    tables = {option.alias: types.get(option.name) for option in options.values()}
    below = [f"{name}.{key}" for name, kind in tables.items() if attrs.has(kind) and key in attrs.fields_dict(kind)]  # type: ignore[arg-type]
    close = below[0] if below else closest(key, options)
    hint = f"did you mean '{close}'?" if close else f"known keys: {', '.join(options) or 'none'}"
    return f"unknown key {quote(str(key))}; {hint}"


def _component(value: Any, base: Any) -> Any:
    """Look up the class of a table by its `kind`."""
    family = BASES[base]
    if not isinstance(value, dict):
        hint = ""
        if isinstance(value, str) and value in registry.active().kinds(family):
            hint = f'; write {{ kind = "{value}" }}'
        raise _Faults(("", f"expected {describe(base)}, got {show(value)}{hint}"))
    kind = value.get("kind")
    if kind is None:
        kinds = ", ".join(registry.active().kinds(family)) or "none"
        misspelt = closest("kind", value)
        hint = f"; did you mean it by {quote(misspelt)}?" if misspelt else ""
        raise _Faults(("kind", f"missing; available: {kinds}{hint}"))
    if not isinstance(kind, str):
        raise _Faults(("kind", f"expected str, got {show(kind)}"))
    try:
        owner = registry.active().resolve(family, kind)
    except DitToolkitError as error:
        raise _Faults(("kind", one_line(error))) from None
    return _table(owner, {key: item for key, item in value.items() if key != "kind"})


def _write(value: Any) -> dict[str, Any]:
    table = {"kind": value.kind} if isinstance(value, Component) else {}
    for option in attrs.fields(type(value)):
        item = getattr(value, option.name)
        if option.init and item is not None:
            table[option.alias] = _converter.unstructure(item)
    return table


def _origin_in(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: kind in origins or typing.get_origin(kind) in origins


def _make_converter() -> Converter:
    converter = Converter()
    for scalar in (bool, str):
        converter.register_structure_hook(scalar, _scalar)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook_func(_origin_in(list, tuple), _sequence)
    converter.register_structure_hook_func(_origin_in(dict), _mapping)
    converter.register_structure_hook_func(_origin_in(Literal), _literal)
    converter.register_structure_hook_func(_origin_in(Union, UnionType), _union)
    converter.register_structure_hook_factory(attrs.has, lambda owner: partial(_table, owner))
    converter.register_structure_hook_func(lambda kind: isinstance(kind, type) and kind in BASES, _component)
    converter.register_unstructure_hook_func(attrs.has, _write)
    converter.register_unstructure_hook(tuple, lambda items: [converter.unstructure(item) for item in items])
    converter.register_unstructure_hook(
        dict, lambda table: {key: converter.unstructure(item) for key, item in table.items() if item is not None}
    )
    return converter


_converter = _make_converter()
