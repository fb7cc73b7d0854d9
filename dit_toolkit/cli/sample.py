"""`sample`: images from a trained model, in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from dit_toolkit import watchdog
from dit_toolkit.cli.options import (
    FILE,
    NEW,
    PATH,
    hang_timeout_option,
    procs_option,
    sample_settings,
    set_option,
    start_processes,
    time_limit_option,
    weights_option,
)
from dit_toolkit.cli.shell import emit
from dit_toolkit.errors import DataError
from dit_toolkit.progress import is_main


@click.command()
@click.argument("run", type=PATH)
@click.option("--num-samples", type=int, metavar="N", help="How many images; the recipe's number unless given.")
@click.option("--out", type=NEW, metavar="FILE.npz", help="File to write; <name of RUN>-samples.npz unless given.")
@click.option("--png", type=NEW, metavar="DIR", help="New or empty folder for a PNG file of each image, too.")
@click.option("--labels", metavar="CLASSES", help="Classes to draw: 207,360 or 'golden retriever,tench'.")
@click.option("--label-sampling", type=click.Choice(["balanced", "random"]), help="Classes in turn, or at random.")
@click.option("--seed", type=int, help="Image i depends on the seed and i alone.")
@click.option("--batch-size", type=int, metavar="B", help="Images that a process draws at once.")
@weights_option
@set_option("cfg_scale=4")
@click.option("--plugin", "files", multiple=True, type=FILE, help="Load a plugin from a .py file.")
@procs_option
@time_limit_option
@hang_timeout_option
@click.pass_context
def sample(
    ctx: click.Context,
    run: Path,
    num_samples: int | None,
    out: Path | None,
    png: Path | None,
    labels: str | None,
    label_sampling: str | None,
    seed: int | None,
    batch_size: int | None,
    weights: str | None,
    changes: Sequence[str],
    files: Sequence[Path],
    procs: int | None,
    deadline: float | None,
    hang_timeout: float,
) -> None:
    """Draw images from a RUN into an .npz file.

    RUN is a run folder, a checkpoint, or a file that was imported or exported. Keys of --set are those of the recipe's
    [sample] table, or begin with `autoencoder.`. A command that was interrupted or killed goes on when it is given
    again, with another --procs or --batch-size if need be.
    """
    out = out or Path(f"{run.resolve().stem if run.is_file() else run.resolve().name}-samples.npz")
    if out.suffix != ".npz":
        raise DataError(f"{out}: the name must end in .npz")

    from dit_toolkit.drawing.parts import partial, refuse_taken

    refuse_taken(out)
    start_processes(ctx, procs)

    from dit_toolkit import distributed, stop
    from dit_toolkit.drawing.draw import sample as draw
    from dit_toolkit.recipe.labels import parse_labels
    from dit_toolkit.sampling import load
    from dit_toolkit.weights import verified

    given = {"num_samples": num_samples, "label_sampling": label_sampling, "seed": seed, "batch_size": batch_size}
    settings = sample_settings(changes, given)
    plugins = [str(file) for file in files]
    with watchdog.watching(hang_timeout), stop.listening(deadline):
        stop.watch(partial(out), clear=is_main())
        distributed.initialise()
        found = distributed.main_alone(lambda: verified(run))
        trained = distributed.together(
            lambda: load(found, weights=weights, plugins=plugins, set=settings, verify=False)
        )
        if labels is not None:
            chosen = parse_labels(labels, trained.class_names)
            trained = trained.with_sample(attrs.evolve(trained.recipe.sample, labels=chosen))
        draw(trained, out, png=png)
        emit(str(out))
        distributed.wait()
