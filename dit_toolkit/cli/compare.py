"""`compare`: which sampler, and how many steps, for a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import tomli

from dit_toolkit.cli.options import FILE, NEW, PATH, json_option, sample_settings, set_option, weights_option
from dit_toolkit.cli.shell import emit_json
from dit_toolkit.errors import DataError, RecipeError
from dit_toolkit.progress import is_main, log

if TYPE_CHECKING:
    from dit_toolkit.components import Sampler

OPEN, CLOSED = "{[", "}]"


@click.command()
@click.argument("run", type=PATH)
@click.option("--samplers", "listed", multiple=True, required=True, metavar="KIND:STEPS,...", help="What to compare.")
@click.option("--num-samples", type=int, metavar="N", help="Images of each; the recipe's number unless given.")
@click.option("--out", type=NEW, metavar="DIR", help="Folder to write; RUN/comparison unless given.")
@click.option("--cfg-scale", type=float, help="Guidance; the recipe's unless given.")
@click.option("--metric", metavar="KIND", help="What the recommendation goes by; the recipe's first unless given.")
@click.option("--tolerance", type=click.FloatRange(0), help="How much worse than the best it may be.")
@weights_option
@set_option("cfg_interval=[0.2,0.8]")
@click.option("--plugin", "files", multiple=True, type=FILE, help="Load a plugin from a .py file.")
@json_option
def compare(
    run: Path,
    listed: Sequence[str],
    num_samples: int | None,
    out: Path | None,
    cfg_scale: float | None,
    metric: str | None,
    tolerance: float | None,
    weights: str | None,
    changes: Sequence[str],
    files: Sequence[Path],
    as_json: bool,
) -> None:
    """Draw from a RUN with several samplers and show quality against cost.

    RUN is a run folder or a checkpoint. A sampler is KIND, KIND:STEPS or a TOML table such as
    {kind="heun",num_steps=8}. All get the same noise and labels, and the cheapest one that the metric cannot tell from
    the best is marked. Keys of --set are those of the recipe's [sample] table.
    """
    out = out or _default_out(run)

    from dit_toolkit import stop
    from dit_toolkit.comparison import compare as compare_samplers
    from dit_toolkit.comparison import faults, table
    from dit_toolkit.sampling import load

    given = {"num_samples": num_samples, "cfg_scale": cfg_scale}
    plugins = [str(file) for file in files]
    trained = load(run, weights=weights, plugins=plugins, set=sample_settings(changes, given))
    samplers, lines = parse(",".join(listed))
    if lines := [*lines, *faults(trained, samplers, metric)]:
        raise RecipeError(*lines)
    with stop.listening():
        result = compare_samplers(trained, samplers, out, metric=metric, tolerance=tolerance)
    if as_json:
        import attrs

        emit_json(attrs.asdict(result))
    elif is_main():
        from rich.console import Console

        Console().print(table(result))
    log(f"{out / 'comparison.png'} shows it, {out / 'samples.png'} the same samples of each")


def parse(text: str) -> tuple[list[Sampler], list[str]]:
    """Make the samplers of a list such as `ddim:20,{kind="heun",num_steps=8}`, and a line for each fault."""
    from dit_toolkit.components import Sampler
    from dit_toolkit.recipe.structure import structure

    found, lines = [], []
    for item in filter(None, _split(text)):
        try:
            found.append(structure(_table(item), Sampler))  # type: ignore[type-abstract]
        except ValueError:
            lines.append(f"--samplers {item}: expected KIND, KIND:STEPS or a TOML table")
        except RecipeError as error:
            lines += [f"--samplers {item}: {line}" for line in error.lines]
    return found, lines


def _split(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    depth, items = 0, [""]
    for letter in text:
        depth += (letter in OPEN) - (letter in CLOSED)
        if letter == "," and not depth:
            items.append("")
        else:
            items[-1] += letter
    return [item.strip() for item in items]


def _table(item: str) -> dict[str, Any]:
    """The TOML table of one sampler; ValueError where it is none."""
    if item.startswith("{"):
        table: dict[str, Any] = tomli.loads(f"sampler = {item}")["sampler"]
        return table
    kind, colon, steps = item.partition(":")
    return {"kind": kind.strip(), "num_steps": int(steps)} if colon else {"kind": kind}


def _default_out(run: Path) -> Path:
    if not (run / "checkpoints").is_dir():
        raise DataError(f"{run}: is no run folder; say with --out where to write")
    return run / "comparison"
