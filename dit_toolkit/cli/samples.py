"""`evaluate` and `grid`: what samples are worth, and how they look."""

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
    set_option,
)
from dit_toolkit.cli.shell import emit, emit_json
from dit_toolkit.errors import DataError
from dit_toolkit.files import refuse_existing
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
