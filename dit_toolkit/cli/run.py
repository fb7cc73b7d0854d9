"""`run`: everything a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dit_toolkit import launch, stop, watchdog
from dit_toolkit.cli.options import (
    NEW,
    hang_timeout_option,
    load_any_with_options,
    plugin_options,
    procs_option,
    recipe_argument,
    set_option,
    start_processes,
    time_limit_option,
)
from dit_toolkit.errors import MissingDataError
from dit_toolkit.recipe.sizes import split_batch

STAGES = ("train", "validate", "sample", "evaluate")


@click.command()
@recipe_argument
@set_option("model.depth=2")
@plugin_options
@click.option("--out", type=NEW, metavar="DIR", help="Run folder; runs/<name of the recipe> unless given.")
@procs_option
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Do only this; may be repeated. Without, all but validate.",
)
@click.option("--fresh", is_flag=True, help="Start over in a new folder instead of going on.")
@click.option("--accept-changes", is_flag=True, help="Go on with a run whose recipe was another one.")
@time_limit_option
@hang_timeout_option
@click.pass_context
def run(
    ctx: click.Context,
    recipe: Path,
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    out: Path | None,
    procs: int | None,
    stages: Sequence[str],
    fresh: bool,
    accept_changes: bool,
    deadline: float | None,
    hang_timeout: float,
) -> None:
    """Train, sample and evaluate what RECIPE describes.

    Goes on from the last checkpoint of the run folder. Starts one process per visible GPU, or --procs of them; under
    torchrun, deepspeed or srun it is one of theirs.
    """
    # Before any process is started, so that faults are said once.
    loaded = load_any_with_options(recipe, changes, files, blocked)
    if {"train", "validate"} & set(stages) or not stages:
        try:
            loaded.dataset.check()
        except MissingDataError as error:
            raise error.of_recipe(recipe) from None
    if not launch.launched():
        split_batch(loaded.train, launch.processes(procs))
    start_processes(ctx, procs)

    wanted = [stage for stage in STAGES if stage in stages]
    with stop.listening():
        from dit_toolkit import distributed
        from dit_toolkit.run import run as run_recipe

        with watchdog.watching(hang_timeout):
            run_recipe(
                loaded,
                name=recipe.stem,
                out=out,
                stages=wanted,
                fresh=fresh,
                accept_changes=accept_changes,
                deadline=deadline,
            )
            distributed.wait()
