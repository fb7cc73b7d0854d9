"""A JSON schema (draft 2020-12) of recipes, made from the same classes that check them: for editors, and other tools.

It knows types, choices, ranges, defaults, descriptions and the kinds on offer with their options. It cannot know rules
across options, validators written as functions, or that 28.0 is no int and that a float must be finite.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union

import attrs

from dit_toolkit import registry
from dit_toolkit.components import FAMILIES, Component
from dit_toolkit.errors import PluginError
from dit_toolkit.recipe.autoencoder import AutoencoderRecipe
from dit_toolkit.recipe.options import Option, doc_of, flatten, options_of
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.structure import BASES

Schema = dict[str, Any]

LARGEST = 2**63 - 1
BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
SCALARS: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": -LARGEST, "maximum": LARGEST},
    float: {"type": "number"},
    str: {"type": "string"},
}
EXTENDS = {"type": "string", "minLength": 1, "description": "The recipe that this one changes, relative to it."}
AUTOENCODER = {"required": ["model"], "properties": {"model": {"type": "object", "required": ["kind"]}}}


def json_schema() -> Schema:
    """Write the schema of recipe files with the kinds of the active registry.

    A file that extends another may leave out everything, and a component's kind where it changes options alone. One
    whose [model] has a kind is that of an autoencoder.
    """
    defs: Schema = {}
    (model, autoencoder), layers = (
        [_Writer(defs, whole=whole).table(cls) for cls in (Recipe, AutoencoderRecipe)] for whole in (True, False)
    )
    for cls in (Recipe, AutoencoderRecipe):
        table = defs[f"layer.{cls.__name__}"]
        table["properties"] = {"extends": EXTENDS, **table["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe of dit-toolkit",
        "if": {"type": "object", "required": ["extends"]},
        "then": {"anyOf": layers},
        "else": {"if": AUTOENCODER, "then": autoencoder, "else": model},
        "$defs": defs,
    }


class _Writer:
    """Fills `$defs`: with required options for whole recipes, without for those that extend another."""

    def __init__(self, defs: Schema, *, whole: bool) -> None:
        self.defs, self.whole = defs, whole

    def table(self, cls: type, name: str = "") -> Schema:
        """Refer to the table of an attrs class, written on first use."""
        name = ("" if self.whole else "layer.") + (name or cls.__name__)
        if name not in self.defs:
            self.defs[name] = {}
            self.defs[name] |= self._object(cls)
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, cls: type, *, kind: bool = True) -> Schema:
        options = options_of(cls)
        properties = {option.name: self._option(option) for option in options}
        required = [option.name for option in options if option.required]
        if issubclass(cls, Component):
            properties = {"kind": {"const": cls.kind}, **properties}
            required = ["kind", *required] if kind else required
        schema: Schema = {"type": "object", "description": doc_of(cls), "properties": properties}
        if self.whole and required:
            schema["required"] = required
        return {key: value for key, value in {**schema, "additionalProperties": False}.items() if value != ""}

    def _option(self, option: Option) -> Schema:
        family = BASES.get(option.kind) if isinstance(option.kind, type) else None
        if family:
            default = option.default["kind"] if isinstance(option.default, dict) else None
            schema = self._component(family, default)
        else:
            schema = _limit(self._type(option.kind), option.validator)
        extra = {"description": option.doc, "default": option.default}
        return {**schema, **{key: value for key, value in extra.items() if value not in ("", None)}}

    def _component(self, family: str, default: str | None = None) -> Schema:
        """Any kind of a family; without a kind, the options of the default one."""
        classes = list(_classes(family))
        choices = [self.table(cls, f"{family}.{cls.kind}") for cls in classes]
        if self.whole:
            choices += [self._object(cls, kind=False) for cls in classes if cls.kind == default]
        return {"anyOf": choices} if choices else {"not": {}}

    def _type(self, kind: Any) -> Schema:
        origin, members = typing.get_origin(kind) or kind, typing.get_args(kind)
        if origin in SCALARS:
            return dict(SCALARS[origin])
        if origin is Literal:
            return {"enum": list(members)}
        if origin in (Union, UnionType):
            choices = [self._type(member) for member in members if member is not NoneType]
            return choices[0] if len(choices) == 1 else {"anyOf": choices}
        if origin in (list, tuple):
            return self._array(origin, members)
        if origin is dict:
            return {"type": "object", **({"additionalProperties": self._type(members[1])} if members else {})}
        if isinstance(origin, type) and origin in FAMILIES.values():
            return self._component(BASES[origin])
        if isinstance(origin, type) and attrs.has(origin):
            return self.table(origin)
        if isinstance(origin, type) and issubclass(origin, Enum):
            return {"enum": [member.value for member in origin]}
        return {}

    def _array(self, origin: type, members: tuple[Any, ...]) -> Schema:
        if not members:
            return {"type": "array"}
        if origin is list or members[-1] is Ellipsis:
            return {"type": "array", "items": self._type(members[0])}
        items = [self._type(member) for member in members]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def _classes(family: str) -> Iterator[type[Component]]:
    """Classes of the kinds that a recipe can use: not those that two plugins claim."""
    for kind in registry.active().kinds(family):
        try:
            yield registry.active().resolve(family, kind)
        except PluginError:
            continue


def _limit(schema: Schema, validator: Any) -> Schema:
    """Add what attrs' validators say: ge, gt, le, lt, min_len, max_len, matches_re, in_ and deep_iterable."""
    for part in flatten(validator):
        if bound := BOUNDS.get(getattr(part, "compare_op", "")):
            for choice in schema.get("anyOf", [schema]):
                if choice.get("type") in ("integer", "number"):
                    choice[bound] = part.bound
        elif hasattr(part, "min_length"):
            schema["minItems" if schema.get("type") == "array" else "minLength"] = part.min_length
        elif hasattr(part, "max_length"):
            schema["maxItems" if schema.get("type") == "array" else "maxLength"] = part.max_length
        elif hasattr(part, "pattern"):
            schema["pattern"] = f"^({part.pattern.pattern})$"
        elif type(part).__name__ == "_InValidator":
            schema["enum"] = list(part.options)
        elif member := getattr(part, "member_validator", None):
            for item in [*schema.get("prefixItems", []), schema.get("items")]:
                if isinstance(item, dict):
                    _limit(item, member)
    return schema
