"""`evaluate`: what samples are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dit_toolkit.cli.options import (
    FILE,
    json_option,
    load_with_options,
    plugin_options,
    set_option,
)
from dit_toolkit.cli.shell import emit_json
from dit_toolkit.progress import is_main


@click.command()
@click.argument("samples", type=FILE)
@click.option("--recipe", type=FILE, required=True, help="What the samples were drawn with.")
@set_option("evaluate.metrics=[]")
@plugin_options
@json_option
def evaluate(
    samples: Path,
    recipe: Path,
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    as_json: bool,
) -> None:
    """Compute a recipe's metrics for SAMPLES.

    SAMPLES is an .npz file, with its labels in the .json file beside it.
    """
    loaded = load_with_options(recipe, changes, files, blocked)

    import numpy as np

    from dit_toolkit.drawing.labelled import read_sidecar
    from dit_toolkit.evaluation import evaluate, table
    from dit_toolkit.images import read_npz

    labels = np.asarray(read_sidecar(samples)["labels"], dtype=np.int64)
    results = evaluate(read_npz(samples), labels, loaded)
    if as_json:
        emit_json(results.as_dict())
    elif is_main():
        from rich.console import Console

        Console().print(table(results))
