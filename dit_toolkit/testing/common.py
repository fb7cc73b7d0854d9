"""Checks of every family: what makes a component an option of a recipe."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from typing import Any, cast

import attrs
import tomli
import tomli_w

from dit_toolkit.components import Component, family_of
from dit_toolkit.errors import PluginError, RecipeError
from dit_toolkit.plugin import check_class, option_types
from dit_toolkit.recipe.structure import structure, unstructure


def check_frozen(component: Component) -> None:
    """No attribute can be set: a component is a value, shared by whoever reads the recipe."""
    name = next((option.name for option in _options(component)), "anything")
    try:
        setattr(component, name, getattr(component, name, None))
    except attrs.exceptions.FrozenInstanceError:
        return
    raise AssertionError(f"{_name(component)}.{name} can be set; decorate the class with @attrs.frozen(kw_only=True)")


def check_keyword_only(component: Component) -> None:
    """Options are given by name, so that their order never matters."""
    positional = [option.name for option in _options(component) if not option.kw_only]
    assert not positional, f"{_name(component)}: {', '.join(positional)} can be given without a name; use kw_only=True"


def check_options_are_typed(component: Component) -> None:
    """Every option has a type, by which TOML is checked."""
    types = option_types(type(component))
    untyped = [option.name for option in _options(component) if types.get(option.name, Any) is Any]
    assert not untyped, f"{_name(component)}: {', '.join(untyped)} has no type; write `name: int = field(...)`"


def check_defaults_are_not_shared(component: Component) -> None:
    """No default is a list or a dict that two components would share."""
    shared = [option.name for option in _options(component) if isinstance(option.default, (list, dict, set))]
    assert not shared, f"{_name(component)}: the default of {', '.join(shared)} is shared; use field(factory=...)"


def check_kind(component: Component) -> None:
    """The class is a complete component of its family with a kind in lower case, words joined by hyphens."""
    try:
        check_class(type(component), family_of(type(component)), "kind")
    except PluginError as error:
        raise AssertionError(str(error)) from None


def check_docstring(component: Component) -> None:
    """The class says what it is, with its source; `plugins show` prints it."""
    text = vars(type(component)).get("__doc__") or ""
    assert text.strip(), f"{_name(component)} has no docstring of its own"


def check_round_trip(component: Component) -> None:
    """Written to TOML and read again it is the same component."""
    table = unstructure(component)
    try:
        read = structure(_without_kind(tomli.loads(tomli_w.dumps(table))), type(component))
    except (RecipeError, TypeError) as error:
        raise AssertionError(f"{_name(component)}: its own table {table} is refused: {error}") from None
    assert read == component, f"{_name(component)}: written as {table} and read as {read!r}"


def check_unknown_option_is_refused(component: Component) -> None:
    """A misspelt option is an error, in TOML and in Python."""
    name = "no_such_option"
    try:
        structure({**_without_kind(unstructure(component)), name: 1}, type(component))
    except RecipeError:
        pass
    else:
        raise AssertionError(f"{_name(component)}: the unknown option {name!r} is accepted in TOML")
    options: dict[str, Any] = {
        option.alias or option.name: getattr(component, option.name) for option in _options(component)
    }
    try:
        cast(Any, type(component))(**{**options, name: 1})
    except TypeError:
        return
    raise AssertionError(f"{_name(component)}: the unknown option {name!r} is accepted in Python")


def check_picklable(component: Component) -> None:
    """It survives pickling, by which it reaches worker processes."""
    try:
        copy = pickle.loads(pickle.dumps(component))
    except Exception as error:
        raise AssertionError(f"{_name(component)} cannot be pickled: {error}") from error
    assert copy == component, f"{_name(component)}: pickled it becomes {copy!r}"


def check_import_is_light(component: Component) -> None:
    """Importing its module neither imports deepspeed nor initialises CUDA, which breaks processes started later."""
    found = _heavy(type(component).__module__)
    assert not found, f"importing {type(component).__module__} {found}; do it inside the method that needs it"


_PROBE = """
import importlib, sys
importlib.import_module(sys.argv[1])
torch = sys.modules.get("torch")
print("imports deepspeed" if "deepspeed" in sys.modules else "")
print("initialises CUDA" if torch is not None and torch.cuda.is_initialized() else "")
"""


@functools.cache
def _heavy(module: str) -> str:
    """What importing a module does in a fresh process; nothing for a module without a file (a notebook)."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" or file is None or module.startswith("_dit_toolkit_file_"):
        return ""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", _PROBE, module], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{module} cannot be imported in a fresh process: {done.stderr.strip()[-500:]}"
    return " and ".join(filter(None, done.stdout.splitlines()))


def _without_kind(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "kind"}


def _options(component: Component) -> list[attrs.Attribute[Any]]:
    return [option for option in attrs.fields(cast(Any, type(component))) if option.init]


def _name(component: Component) -> str:
    return type(component).__name__
