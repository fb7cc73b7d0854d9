"""`import` and `export`: models of other systems, in and out, and their latents, in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import click

from dit_toolkit.cli.options import FILE, NEW, PATH, dtype_option, set_option, weights_option
from dit_toolkit.cli.several import Size
from dit_toolkit.cli.shell import Shell, emit
from dit_toolkit.datasets.size import sides
from dit_toolkit.latents.caches import Format


@click.group("import", cls=Shell)
def import_() -> None:
    """Take over models and latents of other systems; no code in their files is run."""


def _model(format: Literal["facebook", "diffusers"], text: str) -> None:
    """Add the command that imports models of a format."""

    @import_.command(format, help=text)
    @click.argument("source", type=PATH)
    @click.argument("out", type=NEW)
    @click.option("--num-heads", type=click.IntRange(1), metavar="N", help="Heads, where the size does not tell.")
    @click.option("--autoencoder", metavar="PATH", help="Folder of the model's autoencoder, or a name on the hub.")
    @click.option("--weights", type=click.Choice(["ema", "raw"]), help="Averaged or raw weights.")
    @set_option("dataset.path=data/mine")
    def command(
        source: Path,
        out: Path,
        num_heads: int | None,
        autoencoder: str | None,
        weights: Literal["ema", "raw"] | None,
        changes: Sequence[str],
    ) -> None:
        from dit_toolkit.interop.importing import import_model

        imported = import_model(
            source, out, format=format, num_heads=num_heads, autoencoder=autoencoder, weights=weights, set=changes
        )
        emit(str(imported))


_model(
    "facebook", "Make one file OUT, which is taken like a run, of a .pt file of the DiT paper's release or training."
)
_model(
    "diffusers", "Make one file OUT, which is taken like a run, of a folder of a DiTTransformer2DModel or DiTPipeline."
)


@import_.command()
@click.argument("format", type=click.Choice(get_args(Format)), metavar="FORMAT")
@click.argument("source", type=PATH)
@click.argument("out", type=NEW)
@click.option("--autoencoder", metavar="PATH", help="Folder of the AutoencoderKL that made them, or a name on the hub.")
@click.option(
    "--image-size", type=Size(), metavar="N or HxW", help="Pixels of the images, where 8 for one of a latent is wrong."
)
@click.option("--num-classes", type=click.IntRange(1), metavar="N", help="Classes, where it is not ImageNet.")
@click.option("--classes", type=FILE, metavar="JSON", help="A classes.json with names of classes by their folders.")
@click.option(
    "--scaling-factor",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="By which latents are multiplied, or have been.",
)
@click.option("--flipped", type=PATH, metavar="DIR", help="For cerebras, the cache of the mirrored images.")
@click.option(
    "--val-fraction", type=click.FloatRange(0, 1, max_open=True), default=0, metavar="X", help="Share to hold out."
)
@dtype_option
def latents(
    format: Format,
    source: Path,
    out: Path,
    autoencoder: str | None,
    image_size: int | tuple[int, int] | None,
    num_classes: int | None,
    classes: Path | None,
    scaling_factor: float | None,
    flipped: Path | None,
    val_fraction: float,
    dtype: Literal["float16", "bfloat16", "float32"],
) -> None:
    """Make a latent store OUT of latents that another program made.

    FORMAT is cerebras (SOURCE has folders of .npz files), fast-dit (a folder of latents and one of labels),
    lightningdit (safetensors shards) or npz (one file). In each, SOURCE is one split or has those of train and val. A
    command that was interrupted or killed goes on when it is given again.
    """
    from dit_toolkit.interop.latents import Options, import_latents

    options = Options(
        autoencoder=autoencoder,
        image_size=sides(image_size) if image_size else None,
        num_classes=num_classes,
        classes=classes,
        scaling_factor=scaling_factor,
        flipped=flipped,
        val_fraction=val_fraction,
        dtype=dtype,
    )
    import_latents(source, out, format=format, options=options)
    emit(str(out))


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
    weights: str | None,
    no_autoencoder: bool,
    files: Sequence[Path],
) -> None:
    """Write the model of a RUN to OUT, a file, or for diffusers a folder.

    RUN is a run folder, a checkpoint, or a file that was imported or exported.
    """
    from dit_toolkit.interop.exporting import export_model

    plugins = [str(file) for file in files]
    emit(str(export_model(run, out, format=format, weights=weights, autoencoder=not no_autoencoder, plugins=plugins)))
