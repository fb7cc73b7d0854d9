"""`import` and `export`: models of other systems, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from dit_toolkit.cli.options import FILE, NEW, PATH, set_option
from dit_toolkit.cli.shell import emit

weights_option = click.option("--weights", type=click.Choice(["ema", "raw"]), help="Averaged or raw weights.")


@click.command("import")
@click.argument("format", type=click.Choice(["facebook", "diffusers"]), metavar="FORMAT")
@click.argument("source", type=PATH)
@click.argument("out", type=NEW)
@click.option("--num-heads", type=click.IntRange(1), metavar="N", help="Attention heads, where the size does not tell.")
@click.option("--autoencoder", metavar="PATH", help="Folder of the model's autoencoder, or a name on the hub.")
@weights_option
@set_option("dataset.path=data/mine")
def import_(
    format: Literal["facebook", "diffusers"],
    source: Path,
    out: Path,
    num_heads: int | None,
    autoencoder: str | None,
    weights: Literal["ema", "raw"] | None,
    changes: Sequence[str],
) -> None:
    """Make one file OUT of a model of another system; `sample` and `export` take it like a run.

    FORMAT is facebook (SOURCE is a .pt file of the DiT paper's release or of its training) or diffusers (the folder of
    a DiTTransformer2DModel or of a DiTPipeline). No code in SOURCE is run.
    """
    from dit_toolkit.interop.importing import import_model

    emit(
        str(
            import_model(
                source,
                out,
                format=format,
                num_heads=num_heads,
                autoencoder=autoencoder,
                weights=weights,
                set=changes,
            )
        )
    )


@click.command()
@click.argument("run", type=PATH)
@click.argument("out", type=NEW)
@click.option(
    "--format",
    type=click.Choice(["safetensors", "facebook", "diffusers"]),
    default="safetensors",
    show_default=True,
    help="Our own, with the recipe inside, or that of another system.",
)
@weights_option
@click.option("--no-autoencoder", is_flag=True, help="For diffusers, the transformer alone instead of a pipeline.")
@click.option("--plugin", "files", multiple=True, type=FILE, help="Load a plugin from a .py file.")
def export(
    run: Path,
    out: Path,
    format: Literal["safetensors", "facebook", "diffusers"],
    weights: Literal["ema", "raw"] | None,
    no_autoencoder: bool,
    files: Sequence[Path],
) -> None:
    """Write the model of a RUN to OUT, a file, or for diffusers a folder.

    RUN is a run folder, a checkpoint, or a file that was imported or exported.
    """
    from dit_toolkit.interop.exporting import export_model

    plugins = [str(file) for file in files]
    emit(str(export_model(run, out, format=format, weights=weights, autoencoder=not no_autoencoder, plugins=plugins)))
