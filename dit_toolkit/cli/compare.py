"""`compare`: which sampler, and how many steps, for a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dit_toolkit.cli.listed import parse
from dit_toolkit.cli.options import FILE, NEW, PATH, json_option, sample_settings, set_option, weights_option
from dit_toolkit.cli.shell import emit_json
from dit_toolkit.errors import DataError, RecipeError
from dit_toolkit.progress import is_main, log


@click.command()
@click.argument("run", type=PATH)
@click.option("--samplers", "listed", multiple=True, required=True, metavar="KIND:STEPS,...", help="What to compare.")
@click.option("--num-samples", type=int, metavar="N", help="Images of each; the recipe's number unless given.")
@click.option("--out", type=NEW, metavar="DIR", help="Folder to write; RUN/comparison unless given.")
@click.option("--cfg-scales", metavar="1,1.5,...", help="Guidance, each with each sampler; the recipe's unless given.")
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
    cfg_scales: str | None,
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
    from dit_toolkit.components import Sampler
    from dit_toolkit.sampling import load

    scales, lines = _scales(cfg_scales or "")
    given = {"num_samples": num_samples, "cfg_scale": scales[0] if len(scales) == 1 else None}
    plugins = [str(file) for file in files]
    trained = load(run, weights=weights, plugins=plugins, set=sample_settings(changes, given))
    samplers, more = parse(",".join(listed), Sampler, "--samplers", number="num_steps")  # type: ignore[type-abstract]
    scales = scales if len(scales) > 1 else []
    if lines := [*lines, *more, *faults(trained, samplers, metric, scales)]:
        raise RecipeError(*lines)
    with stop.listening():
        result = compare_samplers(trained, samplers, out, cfg_scales=scales, metric=metric, tolerance=tolerance)
    if as_json:
        import attrs

        emit_json(attrs.asdict(result))
    elif is_main():
        from rich.console import Console

        Console().print(table(result))
    if out.parent == run and (run / "recipe.toml").exists():
        from dit_toolkit.report.folder import report_folder

        report_folder(run, trained.recipe)
    log(f"{out / 'comparison.png'} shows it, {out / 'samples.png'} the same samples of each")


def _scales(text: str) -> tuple[list[float], list[str]]:
    """Read `1,1.5,3`, and a line for each that is no strength of guidance."""
    found, lines = [], []
    for item in filter(None, (item.strip() for item in text.split(","))):
        try:
            scale = float(item)
        except ValueError:
            scale = -1.0
        if 0 <= scale <= 1_000:
            found.append(scale)
        else:
            lines.append(f"--cfg-scales {item}: expected a number from 0 to 1000")
    return found, lines


def _default_out(run: Path) -> Path:
    if not (run / "checkpoints").is_dir():
        raise DataError(f"{run}: is no run folder; say with --out where to write")
    return run / "comparison"
