"""Arguments and options that several commands share, and the loading of a recipe with them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dit_toolkit import launch
from dit_toolkit.progress import warn

if TYPE_CHECKING:
    from dit_toolkit.recipe.autoencoder import AnyRecipe
    from dit_toolkit.recipe.schema import Recipe

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PATH = click.Path(exists=True, path_type=Path)
NEW = click.Path(path_type=Path)

recipe_argument = click.argument("recipe", type=FILE)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
procs_option = click.option("--procs", type=click.IntRange(1), metavar="N", help="Processes; one per GPU unless given.")
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["float16", "bfloat16", "float32"]),
    default="float16",
    show_default=True,
    help="Type of the numbers.",
)

weights_option = click.option(
    "--weights", metavar="NAME", help="ema, raw, or ema-0.999 and so on; what the recipe samples unless given."
)


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click
    """A time: `90s`, `30m`, `12h`, `2d`, `23:50:00` or, as SLURM writes it, `1-12:00:00`. In seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if not isinstance(value, str):
            return float(value)
        if match := re.fullmatch(r"(\d{1,7})([smhd])", value, re.ASCII):
            return int(match[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]]
        if match := re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", value, re.ASCII):
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            return ((days * 24.0 + hours) * 60 + minutes) * 60 + seconds
        return self.fail(f"{value!r} is no time such as 90s, 30m, 12h, 23:50:00 or 1-12:00:00.", param, ctx)


def _deadline(_ctx: click.Context, _param: click.Parameter, seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


time_limit_option = click.option(
    "--time-limit",
    "deadline",
    type=Duration(),
    metavar="TIME",
    callback=_deadline,
    help="Save and end with code 3 after this time, such as 23:50:00 or 90m.",
)
hang_timeout_option = click.option(
    "--hang-timeout",
    type=Duration(),
    metavar="TIME",
    default="10m",
    show_default=True,
    help="End, and show where, when a process does nothing for so long; 0s is never.",
)


def set_option(example: str) -> Callable[[F], F]:
    """Make --set, with an example in its help."""
    text = f"Change an option; the value is TOML. Example: {example}"
    return click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help=text)


def plugin_options(command: F) -> F:
    """Add --plugin and --no-plugin."""
    file = click.option("--plugin", "files", multiple=True, type=FILE, help="Load a plugin from a .py file.")
    block = click.option("--no-plugin", "blocked", multiple=True, metavar="NAME", help="Leave an installed plugin out.")
    return file(block(command))


@contextmanager
def load_plugins(files: Iterable[Path], blocked: Iterable[str]) -> Iterator[None]:
    """Do what needs plugins with --plugin and --no-plugin; plugins that failed become warnings."""
    from dit_toolkit import registry

    for name in blocked:
        registry.active().block(name)
    try:
        for file in files:
            registry.active().load_file(file)
        yield
    finally:
        for line in registry.active().warnings():
            warn(line)


def load_with_options(recipe: Path, changes: Sequence[str], files: Sequence[Path], blocked: Iterable[str]) -> Recipe:
    """Load the recipe of a Diffusion Transformer with the options of a command."""
    from dit_toolkit.recipe.load import load_recipe

    with load_plugins((), blocked):
        return load_recipe(recipe, set=changes, plugins=files)


def load_any_with_options(
    recipe: Path, changes: Sequence[str], files: Sequence[Path], blocked: Iterable[str]
) -> AnyRecipe:
    """Load a recipe, be it that of an autoencoder, with the options of a command."""
    from dit_toolkit.recipe.load import load_any_recipe

    with load_plugins((), blocked):
        return load_any_recipe(recipe, set=changes, plugins=files)


def start_processes(ctx: click.Context, requested: int | None) -> None:
    """Do the command in several processes, and end with their code, where no launcher has started it already.

    Without `requested` one per visible GPU, or this one alone.
    """
    if launch.launched():
        if requested not in (None, size := launch.world().size):
            warn(f"--procs {requested} does nothing: the launcher started {size}")
    elif (count := launch.processes(requested)) > 1:
        ctx.exit(launch.spawn(count, ctx.obj))


def sample_settings(changes: Sequence[str], given: Mapping[str, object]) -> list[str]:
    """Settings of a recipe from --set, whose keys are those of [sample] or `autoencoder.` and one of that table, and
    from the options that were given for single keys of [sample]."""
    named = [*changes, *(f"{key}={value}" for key, value in given.items() if value is not None)]
    return [text if text.lstrip().startswith("autoencoder.") else f"sample.{text}" for text in named]
