"""Ways to make a recipe wrong: deterministic, each with the name of the key that an error must show."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

import attrs

from dit_toolkit.recipe.autoencoder import AutoencoderModel
from dit_toolkit.recipe.schema import Model, Recipe, Sample, Train

FREE = {"config"}
"""Tables whose keys are not ours to check."""
CHOICES = {
    "beta_schedule",
    "target",
    "time_sampling",
    "weighting",
    "lr_schedule",
    "weight_decay_on",
    "non_finite",
    "precision",
    "weights",
    "cfg_passes",
    "label_sampling",
    "positions",
    "time_frequencies",
    "attention",
    "memory",
    "gelu",
    "head",
    "offload",
    "distance",
    "network",
}
REQUIRED = {
    (*path, option.name)
    for path, cls in [((), Recipe), (("model",), Model), (("model",), AutoencoderModel), (("train",), Train)]
    for option in attrs.fields(cls)
    if option.default is attrs.NOTHING
}
SETTLED = {
    option.name
    for cls in (Recipe, Model, Train, Sample)
    for option in attrs.fields(cls)
    if isinstance(option.default, attrs.Factory)
} | {("metrics", 0, "extractor")}
"""Tables that may leave out their kind: it is the default component's."""

Path = tuple[str | int, ...]


class Mutation(NamedTuple):
    name: str
    """What was done, unique within a recipe."""
    key: str
    """What the output must name."""
    table: dict[str, Any]


def mutations(recipe: dict[str, Any]) -> Iterator[Mutation]:
    """Every mutation of a recipe's tables; take the resolved ones, so that each option is met."""
    for path, table in _tables(recipe):
        where = ".".join(map(str, path)) or "recipe"
        for extra in ("surplus", "Kind", "depth_", "x-y"):
            yield Mutation(f"{where}: extra {extra}", extra, _with(recipe, (*path, extra), 1))
        yield Mutation(f"{where}: extra table", "surplus", _with(recipe, (*path, "surplus"), {"kind": "x"}))
        for key in table:
            spot = (*path, key)
            for wrong in _misspelt(key):
                yield Mutation(f"{where}: {key} as {wrong}", wrong, _renamed(recipe, spot, wrong))
            if spot in REQUIRED or (key == "kind" and not {path[-1], path[-3:]} & SETTLED):
                yield Mutation(f"{where}: {key} missing", key, _without(recipe, spot))
            for wrong in _wrong_values(key, table[key]):
                yield Mutation(f"{where}: {key} = {str(wrong)[:40]}", key, _with(recipe, spot, wrong))


def _wrong_values(key: str, value: Any) -> list[Any]:
    """Values of a wrong type, size or shape for an option that has this value."""
    deep: Any = value
    for _ in range(20):
        deep = {"nested": deep}
    wrong: list[Any] = [{"x": 1}, [[value]], date(2020, 1, 1), deep, 10**30]
    if key == "kind":
        return [*wrong, 3, True, "", f"{value}x", value.upper(), f"../{value}", value * 1_000]
    if isinstance(value, bool):
        return [*wrong, "false", 0, 1.0]
    if isinstance(value, int):
        return [*wrong, str(value), True, -(2**40), -1e30, float("nan"), float("inf")]
    if isinstance(value, float):
        return [*wrong, str(value), False, -1e30, float("nan"), float("-inf")]
    if isinstance(value, str):
        return [*wrong, 3, True, 1.5, *(["nonsense", "x" * 10_000] if key in CHOICES else [])]
    if isinstance(value, list):
        return [date(2020, 1, 1), deep, "x", 3, True, {"x": 1}, [{"nonsense": 1}] * 1_000, [[[value]]]]
    return [wrong[2], 10**30, "x", 3, True, [value, 1], [[value]]]


def _misspelt(key: str) -> list[str]:
    return [f"{key}s", key[:-1] + "-", key.upper(), f"{key[1]}{key[0]}{key[2:]}_"]


def _tables(value: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    if isinstance(value, dict) and (not path or path[-1] not in FREE):
        yield path, value
        for key, item in value.items():
            yield from _tables(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _tables(item, (*path, index))


def _parent(recipe: dict[str, Any], path: Path) -> tuple[dict[str, Any], Any]:
    """A copy of the recipe, and within it the table that holds the last key."""
    changed = copy.deepcopy(recipe)
    table: Any = changed
    for key in path[:-1]:
        table = table[key]
    return changed, table


def _with(recipe: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed, table = _parent(recipe, path)
    table[path[-1]] = value
    return changed


def _without(recipe: dict[str, Any], path: Path) -> dict[str, Any]:
    changed, table = _parent(recipe, path)
    del table[path[-1]]
    return changed


def _renamed(recipe: dict[str, Any], path: Path, key: str) -> dict[str, Any]:
    changed, table = _parent(recipe, path)
    table[key] = table.pop(path[-1])
    return changed
