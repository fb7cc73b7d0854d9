"""Recipes from TOML files: defaults < `extends` < the file < `--set`, four layers and no more.

Tables are merged key by key, lists are replaced, and a layer that names another `kind` replaces the whole table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tomli
import tomli_w

from dit_toolkit import registry
from dit_toolkit.components import Backend, Metric
from dit_toolkit.errors import PluginError, RecipeError
from dit_toolkit.recipe.autoencoder import AnyRecipe, AutoencoderRecipe, structure_any
from dit_toolkit.recipe.origins import Origin, advise, read_origins
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.structure import structure, unstructure
from dit_toolkit.recipe.text import key_text, one_line, quote, show

Table = dict[str, Any]
R = TypeVar("R", Recipe, AutoencoderRecipe)

LARGEST_FILE = 1_000_000
"""Bytes; a recipe has a few thousand."""
DEEPEST = 32
"""Levels of tables and lists; a recipe has about five."""


def load_recipe(path: str | Path, *, set: Sequence[str] = (), plugins: Sequence[str | Path] = ()) -> Recipe:
    """Load and check a recipe; nothing here imports torch.

    Args:
        path: the TOML file.
        set: `a.b=VALUE` each, with a TOML value; a bare word is a string.
        plugins: .py files to load first, before those that the recipe names.

    Raises:
        RecipeError: every fault of the recipe, each with its TOML path, the file that cannot be read, or that the
            recipe trains an autoencoder.
        PluginError: a file of `plugins` cannot be loaded.
    """
    recipe = load_any_recipe(path, set=set, plugins=plugins)
    if isinstance(recipe, AutoencoderRecipe):
        raise RecipeError(f"model.kind: {path} trains an autoencoder; here a Diffusion Transformer is needed")
    return recipe


def load_any_recipe(path: str | Path, *, set: Sequence[str] = (), plugins: Sequence[str | Path] = ()) -> AnyRecipe:
    """Load and check a recipe of a Diffusion Transformer or of an autoencoder, as `load_recipe` does."""
    _load_files(plugins)
    table = override(read(path), set)
    lines = _load_named(table, Path(path).parent)
    try:
        recipe = structure_any(table)
    except RecipeError as error:
        raise RecipeError(*lines, *error.lines) from None
    if lines:
        raise RecipeError(*lines)
    return recipe


def load_named_plugins(path: str | Path) -> None:
    """Load the .py files that a recipe and what it extends name, without looking at the rest of it.

    Raises:
        RecipeError: a file cannot be read or loaded.
    """
    if lines := _load_named(read(path), Path(path).parent):
        raise RecipeError(*lines)


def read_resolved(path: str | Path, *, plugins: Sequence[str | Path] = ()) -> Recipe:
    """Read the recipe stored in a run, without what only training and evaluation need and nobody offers here.

    It loads no code but the .py files of `plugins`.

    Raises:
        RecipeError: as `load_recipe`, with what to install and which plugin files the recipe would need.
        PluginError: a file of `plugins` cannot be loaded.
    """
    _load_files(plugins)
    return _resolved(_parse(Path(path)), read_origins(Path(path).parent))


def parse_resolved(
    text: str, source: Path, origins: Mapping[str, Origin], *, plugins: Sequence[str | Path] = ()
) -> Recipe:
    """Make a recipe of a text stored in the file `source`, as `read_resolved` does."""
    _load_files(plugins)
    return _resolved(_tables(text.encode(), source), origins)


def _resolved(table: Table, stored: Mapping[str, Origin]) -> Recipe:
    _leave_out(table)
    try:
        recipe = structure_any(table)
    except RecipeError as error:
        named = table.get("plugins")
        named = named if isinstance(named, list) else []
        lines = [advise(line, stored, named) for line in error.lines]
        if named:
            allow = " ".join(f"--plugin {name}" for name in named)
            lines.append(f"note: the plugin files of a stored recipe are not loaded unasked; allow it with {allow}")
        raise RecipeError(*lines) from None
    if isinstance(recipe, AutoencoderRecipe):
        raise RecipeError(
            "model.kind: this is the run of an autoencoder; the folder `autoencoder` in it is what "
            '[autoencoder] kind = "kl" reads in the recipe of a Diffusion Transformer'
        )
    return recipe


def _leave_out(table: Table) -> None:
    """Drop the trackers, which belong to the process that trained, and a backend or metrics that are not to be had."""
    train, evaluate = table.get("train"), table.get("evaluate")
    if isinstance(train, dict):
        train.pop("trackers", None)
        if "backend" in train and not _can_be_made(train["backend"], Backend):
            del train["backend"]
    if isinstance(evaluate, dict) and isinstance(evaluate.get("metrics"), list):
        evaluate["metrics"] = [metric for metric in evaluate["metrics"] if _can_be_made(metric, Metric)]


def _can_be_made(table: Any, base: type) -> bool:
    try:
        structure(table, base)
    except RecipeError:
        return False
    return True


def apply(recipe: R, set: Sequence[str]) -> R:
    """Change a recipe by settings such as `sample.sampler.num_steps=20`.

    Raises:
        RecipeError: every fault of the changed recipe.
    """
    if not set:
        return recipe
    changed = structure_any(override(unstructure(recipe), set))
    return cast(R, changed)


def dumps(recipe: AnyRecipe) -> str:
    """Write the resolved recipe as TOML: every default, in the order of the schema."""
    return tomli_w.dumps(unstructure(recipe))


def override(table: Table, set: Sequence[str]) -> Table:
    """Merge `a.b=VALUE` settings into a table as one layer; RecipeError for what is no setting or meets no table."""
    layer: Table = {}
    for text in set:
        setting = _setting(text)
        _refuse_deep(setting)
        _refuse_non_tables(merge(table, layer), setting, text)
        layer = merge(layer, setting)
    return merge(table, layer)


def merge(base: Table, layer: Table) -> Table:
    """Put one layer over another; neither is changed."""
    merged = dict(base)
    for key, value in layer.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not _other_kind(old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def read(path: str | Path) -> Table:
    """Read a recipe file over the ones it extends, unchecked; `plugins` stays relative to this file.

    Raises:
        RecipeError: a file is missing, unreadable, no TOML, or extends itself.
    """
    try:
        return _read(Path(path), ())
    except RecursionError:
        raise RecipeError(f"{path}: nested too deeply") from None


def _read(path: Path, above: tuple[Path, ...]) -> Table:
    here = _resolve(path)
    if here in above:
        chain = " -> ".join(file.name for file in (*above, path))
        raise RecipeError(f"extends: {path} extends itself: {chain}")
    table = _parse(path)
    if "extends" not in table:
        return table
    name = table.pop("extends")
    if not isinstance(name, str) or not name:
        raise RecipeError(f"extends: expected the path of a recipe, got {show(name)}, in {path}")
    base = _read(path.parent / name, (*above, here))
    if isinstance(base.get("plugins"), list):
        folder = os.path.relpath((path.parent / name).parent, path.parent)
        base["plugins"] = [os.path.normpath(Path(folder, file)) for file in map(str, base["plugins"])]
    return merge(base, table)


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name no system allows
        raise RecipeError(f"{quote(str(path))}: cannot be read: {one_line(error)}") from None


def _parse(path: Path) -> Table:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: is a folder, not a recipe file") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no system allows
        raise RecipeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _tables(data, path)


def _tables(data: bytes, path: Path) -> Table:
    if len(data) > LARGEST_FILE:
        raise RecipeError(f"{path}: larger than {LARGEST_FILE:,} bytes; this is no recipe")
    try:
        table = tomli.loads(data.decode())
        _refuse_deep(table)
        return table
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}: not UTF-8 text (at line {line})") from None
    except ValueError as error:  # TOMLDecodeError, or a number too long for Python
        raise RecipeError(f"{path}: {one_line(error)}") from None
    except RecursionError:
        raise RecipeError(f"{path}: nested too deeply") from None


def _refuse_deep(value: object, path: tuple[str, ...] = ()) -> None:
    if len(path) > DEEPEST:
        raise RecipeError(f"{'.'.join(path[:4])}...: nested more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_deep(item, (*path, key_text(key)))
    elif isinstance(value, list):
        for item in value:
            _refuse_deep(item, (*path, "[...]"))


def _setting(text: str) -> Table:
    """`a.b=2` as the table {a: {b: 2}}; a value that is no TOML is a string."""
    key, equals, value = text.partition("=")
    bare = key.strip()
    try:
        if not equals or not bare or bare[0] in "#[" or "\n" in bare:
            raise ValueError
        try:
            return tomli.loads(f"{bare} = {value}")
        except ValueError:
            return tomli.loads(f"{bare} = {json.dumps(value, ensure_ascii=False)}")
    except (ValueError, RecursionError):
        raise RecipeError(f"--set {quote(text)}: expected KEY=VALUE, such as train.max_steps=1000") from None


def _refuse_non_tables(table: Mapping[str, Any], setting: Mapping[str, Any], text: str, path: str = "") -> None:
    for key, value in setting.items():
        old, place = table.get(key), path + key_text(key)
        if isinstance(value, dict) and isinstance(old, dict):
            _refuse_non_tables(old, value, text, f"{place}.")
        elif isinstance(value, dict) and old is not None:
            raise RecipeError.of([(place, f"expected a table for --set {quote(text)}, got {show(old)}")])


def _other_kind(old: Table, new: Table) -> bool:
    return "kind" in old and "kind" in new and old["kind"] != new["kind"]


def _load_named(table: Table, folder: Path) -> list[str]:
    """Load the files of `plugins`; a line for each that cannot be."""
    lines = []
    named = table.get("plugins")
    for index, name in enumerate(named if isinstance(named, list) else ()):
        try:
            if isinstance(name, str):
                registry.active().load_file(folder / name)
        except PluginError as error:
            lines.append(f"plugins[{index}]: {one_line(error)}")
    return lines


def _load_files(plugins: Sequence[str | Path]) -> None:
    for file in plugins:
        registry.active().load_file(file)
