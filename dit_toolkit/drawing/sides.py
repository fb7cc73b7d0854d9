"""Models and settings to be shown side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dit_toolkit.drawing.facts import APART
from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.load import apply
from dit_toolkit.recipe.text import outside_brackets
from dit_toolkit.sampling import Trained, load

SAME = {*APART, "label_sampling"}
"""Options of [sample] on which the images of a picture do not depend."""


def load_sides(
    paths: Sequence[Path],
    *,
    vary: str | None = None,
    weights: str | None = None,
    plugins: Sequence[str] = (),
    set: Sequence[str] = (),
) -> list[tuple[str, Trained]]:
    """Load each path, with each of the values of one option of [sample] where there are such; with names.

    A name says what is not the same for all: run, step, weights, value.

    Args:
        vary: `cfg_scale=1,2,4`; the values are TOML.
        weights, plugins, set: as of `load`.

    Raises:
        RecipeError: no such option, or one on which no image depends.
    """
    key, values = _values(vary) if vary else ("", [""])
    sides: list[Trained] = []
    told: list[tuple[str, ...]] = []
    for path in paths:
        whole = None if key == "weights" else load(path, weights=weights, plugins=plugins, set=set)
        for value in values:
            if whole is None:
                trained = load(path, weights=value.strip("\"'"), plugins=plugins, set=set)
            else:
                changed = apply(whole.recipe, [f"sample.{key}={value}"] if key else [])
                trained = whole.with_sample(changed.sample)
            sides.append(trained)
            setting = f"{key} {value}" if key not in ("", "weights") else ""
            told.append((_run_of(path), f"step {trained.step}", trained.weights, setting))
    differing = [number for number, column in enumerate(zip(*told, strict=True)) if len({*column}) > 1] or [0]
    return [(", ".join(words[i] for i in differing), trained) for words, trained in zip(told, sides, strict=True)]


def _run_of(path: Path) -> str:
    """Name of the run of a run folder, a checkpoint or a file."""
    path = path.resolve()
    if path.parent.name == "checkpoints":
        return path.parent.parent.name
    return path.stem if path.is_file() else path.name


def _values(vary: str) -> tuple[str, list[str]]:
    """The key and the values of `key=1,2,4`; commas within brackets and braces do not separate."""
    key, equals, text = vary.partition("=")
    key, values = key.strip().removeprefix("sample."), outside_brackets(text)
    if not key or not equals or not all(values):
        raise RecipeError(f"--vary {vary!r}: expected OPTION=VALUES, such as cfg_scale=1,2,4")
    if key in SAME:
        raise RecipeError(f"--vary {vary!r}: no image depends on {key}")
    return key, values
