"""`sample`, `evaluate` and `grid`: images from a finished run, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dit_toolkit.cli.options import (
    FILE,
    NEW,
    PATH,
    json_option,
    load_with_options,
    plugin_options,
    refuse_existing,
    set_option,
    time_limit_option,
    weights_option,
)
from dit_toolkit.cli.shell import emit, emit_json
from dit_toolkit.errors import DataError
from dit_toolkit.progress import is_main


@click.command()
@click.argument("run", type=PATH)
@click.option("--num-samples", type=int, metavar="N", help="How many images; the recipe's number unless given.")
@click.option("--out", type=NEW, metavar="FILE.npz", help="File to write; <name of RUN>-samples.npz unless given.")
@click.option("--labels", metavar="2,7", help="Classes to draw, in turn.")
@click.option("--seed", type=int, help="Image i depends on the seed and i alone.")
@weights_option
@set_option("sampler.num_steps=20")
@click.option("--plugin", "files", multiple=True, type=FILE, help="Load a plugin from a .py file.")
@time_limit_option
def sample(
    run: Path,
    num_samples: int | None,
    out: Path | None,
    labels: str | None,
    seed: int | None,
    weights: str | None,
    changes: Sequence[str],
    files: Sequence[Path],
    deadline: float | None,
) -> None:
    """Draw images from a RUN into an .npz file.

    RUN is a run folder, a checkpoint, or a file that was imported or exported. Keys of --set are those of the recipe's
    [sample] table.
    """
    out = out or Path(f"{run.resolve().stem if run.is_file() else run.resolve().name}-samples.npz")
    if out.suffix != ".npz":
        raise DataError(f"{out}: the name must end in .npz")
    for path in (out, out.with_suffix(".json")):
        refuse_existing(path)

    from dit_toolkit import stop
    from dit_toolkit.recipe.load import apply
    from dit_toolkit.sampling import load, sample_to_file

    given = {"num_samples": num_samples, "labels": labels and f"[{labels}]", "seed": seed}
    settings = [*changes, *(f"{key}={value}" for key, value in given.items() if value is not None)]
    trained = load(run, weights=weights, plugins=[str(file) for file in files])
    trained = trained.with_sample(apply(trained.recipe, settings, at="sample").sample)
    with stop.listening(deadline):
        sample_to_file(trained, out)
    emit(str(out))


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

    from dit_toolkit.evaluation import evaluate, table
    from dit_toolkit.images import read_npz

    labels = np.asarray(_sidecar(samples)["labels"], dtype=np.int64)
    results = evaluate(read_npz(samples), labels, loaded)
    if as_json:
        emit_json(results.as_dict())
    elif is_main():
        from rich.console import Console

        Console().print(table(results))


@click.command()
@click.argument("path", type=PATH)
@click.option("--out", type=NEW, required=True, metavar="PNG", help="Picture to write.")
@click.option("--columns", type=click.IntRange(1, 100), default=10, show_default=True, help="Images in a row.")
def grid(path: Path, out: Path, columns: int) -> None:
    """Put the images of PATH into one picture.

    PATH is an .npz file or a folder. Where the labels are known (from the .json file beside it), a row is a class.
    """
    if out.suffix.lower() != ".png":
        raise DataError(f"{out}: the name must end in .png")
    refuse_existing(out)

    import numpy as np

    from dit_toolkit.images import grid, read_folder, read_npz

    pixels = read_folder(path) if path.is_dir() else read_npz(path)
    if path.is_file() and path.with_suffix(".json").exists():
        sidecar = _sidecar(path)
        labels = np.asarray(sidecar["labels"], dtype=np.int64)
        names = sidecar.get("class_names") or [str(label) for label in range(max(labels, default=0) + 1)]
    else:
        labels = np.arange(len(pixels)) // columns
        names = [""] * len(pixels)
    if len(labels) != len(pixels):
        raise DataError(f"{path}: {len(pixels)} images, but {len(labels)} labels in {path.with_suffix('.json').name}")
    grid(pixels, labels, names, columns).save(out)
    emit(str(out))


def _sidecar(samples: Path) -> dict[str, Any]:
    """Read the .json file beside samples; its `labels` are a list of whole numbers from 0 up."""
    path = samples.with_suffix(".json")
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it holds the labels of {samples.name}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    labels = found.get("labels") if isinstance(found, dict) else None
    if (
        not isinstance(found, dict)
        or not isinstance(labels, list)
        or not all(type(label) is int and label >= 0 for label in labels)
    ):
        raise DataError(f"{path}: `labels` must be a list of class numbers")
    return found
