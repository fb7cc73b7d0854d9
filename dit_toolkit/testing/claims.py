"""Checks of what only some components claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Check = Callable[[Any], None]
F = TypeVar("F", bound=Check)


def claims(name: str) -> Callable[[F], F]:
    """Run a check only on components whose attribute `name` is true (`identity_at_start`, `symmetric`, ...)."""

    def mark(check: F) -> F:
        check.claim = name  # type: ignore[attr-defined]
        return check

    return mark


def applies(check: Check, component: object) -> bool:
    """Whether a component makes the claim that a check is about."""
    claim = getattr(check, "claim", None)
    return claim is None or bool(getattr(component, claim))
