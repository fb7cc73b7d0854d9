"""Classes by number or by name, as a user gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from dit_toolkit.errors import RecipeError

SUGGESTED = 3
"""Names that a message suggests at most."""
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)


def parse_labels(text: str, names: Sequence[str]) -> list[int]:
    """Read a list such as `207,360` or `golden retriever, tench`.

    A name is that of a class or one of its synonyms, between which the class's name has commas ("tench, Tinca tinca"),
    in any case. A number is always that of a class.

    Args:
        text: what the user wrote.
        names: of all classes, in the order of the labels.

    Raises:
        RecipeError: a class that there is not, or a name that several have; a line each.
    """
    known = _known(names)
    found, lines = [], []
    for word in _words(text, known):
        numbers = [int(word)] if _NUMBER.fullmatch(word) else known.get(_folded(word), [])
        if len(numbers) != 1:
            lines.append(_fault(word, numbers, names))
        elif not 0 <= numbers[0] < len(names):
            lines.append(f"labels: {word} is no class; there are 0 to {len(names) - 1}")
        found += numbers
    if lines or not found:
        raise RecipeError(*(lines or ["labels: names no class"]))
    return found


def _known(names: Sequence[str]) -> dict[str, list[int]]:
    """Numbers of the classes by each of their names: the whole one goes before synonyms of others."""
    whole: dict[str, list[int]] = {}
    synonyms: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        whole.setdefault(_folded(name), []).append(number)
        for synonym in {_folded(part) for part in name.split(",")}:
            synonyms.setdefault(synonym, []).append(number)
    return {**synonyms, **whole}


def _words(text: str, known: dict[str, list[int]]) -> Iterator[str]:
    """Split at commas, but for those within the name of a class."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    longest = 1 + max((name.count(",") for name in known), default=0)
    while parts:
        count = next((n for n in range(longest, 1, -1) if _folded(", ".join(parts[:n])) in known), 1)
        yield ", ".join(parts[:count])
        parts = parts[count:]


def _folded(name: str) -> str:
    """A name without case, underscores and surplus spaces."""
    return " ".join(name.casefold().replace("_", " ").replace(",", ", ").split())


def _fault(word: str, numbers: Sequence[int], names: Sequence[str]) -> str:
    """Say why a word is not one class."""
    if numbers:
        meant = ", ".join(f"{number} ({names[number]})" for number in numbers)
        return f"labels: {word!r} is the name of several classes: {meant}; give the number"
    if all(name.isdecimal() for name in names):
        return f"labels: {word!r}: the classes have no names here; give numbers from 0 to {len(names) - 1}"
    folded = {_folded(part): part.strip() for name in names for part in name.split(",")}
    holding = [key for key in folded if _folded(word) in key]
    close = [*holding, *get_close_matches(_folded(word), folded, SUGGESTED)]
    suggested = ", ".join(repr(folded[key]) for key in list(dict.fromkeys(close))[:SUGGESTED])
    hint = f"did you mean {suggested}?" if suggested else f"there are {', '.join(map(repr, names[:SUGGESTED]))}, ..."
    return f"labels: there is no class {word!r}; {hint}"
