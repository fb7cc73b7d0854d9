"""From components to one pytest test per component and check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import attrs

from dit_toolkit.components import Component, family_of
from dit_toolkit.testing.claims import Check, applies

if TYPE_CHECKING:
    import pytest


def checks_of(component: Component) -> list[Check]:
    """Return the checks of a component: those of every family, those of its own, those of what it claims.

    Raises:
        TypeError: it is a class, or no component; options are part of what is checked.
    """
    if isinstance(component, type):
        raise TypeError(f"checks need an instance: write {component.__name__}(...), not the class {component.__name__}")
    modules = [import_module(f"dit_toolkit.testing.{name}") for name in ("common", family_of(type(component)))]
    found = [check for module in modules for check in vars(module).values() if _is_check(check, module.__name__)]
    return [check for check in found if applies(check, component)]


def parametrize_with_checks(
    components: Iterable[Component], expected_failures: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """Decorate `test(component, check)` to become one test per component and check.

    Test ids look like `test_contract[Midpoint(num_steps=3)-deterministic]`, with the options that are not defaults.

    Args:
        components: instances, with the options that are worth checking.
        expected_failures: names of checks (`deterministic`) that must fail, and why; they are strict xfails.

    Raises:
        ValueError: an expected failure names no check of these components.
    """
    import pytest

    reasons = {name.removeprefix("check_"): reason for name, reason in (expected_failures or {}).items()}
    params, names = [], set()
    for component in components:
        for check in checks_of(component):
            name = name_of(check)
            names.add(name)
            marks = [pytest.mark.xfail(reason=reasons[name], strict=True)] if name in reasons else []
            params.append(pytest.param(component, check, id=f"{describe(component)}-{name}", marks=marks))
    if unknown := sorted(set(reasons) - names):
        known = ", ".join(sorted(names))
        raise ValueError(f"expected_failures: no check named {', '.join(unknown)}; there are {known}")
    return pytest.mark.parametrize(("component", "check"), params)


def _is_check(value: object, module: str) -> bool:
    return getattr(value, "__module__", "") == module and getattr(value, "__name__", "").startswith("check_")


def name_of(check: Check) -> str:
    """Name a check as test ids do: `check_deterministic` is `deterministic`."""
    return check.__name__.removeprefix("check_")


def describe(component: Component) -> str:
    """Write a component with the options that differ from their defaults."""
    options = []
    for option in attrs.fields(cast(Any, type(component))):
        if option.init and (value := getattr(component, option.name)) != _default(option):
            options.append(f"{option.alias}={value!r}")
    return f"{type(component).__name__}({', '.join(options)})"


def _default(option: attrs.Attribute[Any]) -> Any:
    default: Any = option.default
    return default.factory() if isinstance(default, attrs.Factory) and not default.takes_self else default  # type: ignore[arg-type]
