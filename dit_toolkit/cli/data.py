"""`prepare`, `encode`, `verify` and `inspect`: from archives to verified latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from dit_toolkit import launch, stop, watchdog
from dit_toolkit.cli.options import (
    NEW,
    dtype_option,
    hang_timeout_option,
    json_option,
    load_with_options,
    plugin_options,
    procs_option,
    recipe_argument,
    set_option,
    start_processes,
    time_limit_option,
)
from dit_toolkit.cli.shell import Shell, emit, emit_json, table
from dit_toolkit.errors import DataError
from dit_toolkit.files import refuse_existing

if TYPE_CHECKING:
    from dit_toolkit.components import Dataset

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=Shell)
def prepare() -> None:
    """Make a data set ready for encoding."""


@prepare.command()
@click.option("--archives", type=FOLDER, metavar="DIR", help="Where the three official archives are.")
@click.option("--from-folder", "tree", type=FOLDER, metavar="DIR", help="A tree that is there; it is linked to.")
@click.option("--out", type=NEW, required=True, metavar="DIR", help="Folder to make.")
def imagenet(archives: Path | None, tree: Path | None, out: Path) -> None:
    """Make a folder of ImageNet (ILSVRC 2012), from its archives or from a tree train/CLASS and val.

    The archives ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz are verified by size
    and MD5 sum. A command that was interrupted or killed goes on when it is given again. With --from-folder, the kit
    in --archives names the classes and sorts a val folder without folders of classes.
    """
    if tree is None and archives is None:
        raise click.UsageError("give --archives DIR, or --from-folder DIR")

    from dit_toolkit.imagenet.archives import PUBLISHED, find
    from dit_toolkit.imagenet.prepare import adopt, prepare

    if tree is None and archives:
        prepare(archives, out)
    elif tree:
        adopt(tree, out, archives and find(archives, PUBLISHED["devkit"]))
    emit(str(out))


@click.command()
@recipe_argument
@click.option("--images", type=FOLDER, metavar="DIR", help="Images to encode; the recipe's dataset unless given.")
@click.option("--out", type=NEW, required=True, metavar="DIR", help="Latent store to write.")
@click.option("--split", "splits", multiple=True, type=click.Choice(["train", "val"]), help="Encode only this one.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images at once.")
@click.option("--flip", is_flag=True, help="Encode the mirrored images too.")
@click.option("--sample", is_flag=True, help="Store one latent of each image instead of mean and deviation.")
@dtype_option
@click.option(
    "--max-skipped", type=click.IntRange(0), default=100, show_default=True, help="Unreadable images to leave out."
)
@click.option("--log-every", type=click.FloatRange(0), default=10, metavar="SECONDS", help="Time between log lines.")
@set_option("autoencoder.path=DIR")
@plugin_options
@procs_option
@time_limit_option
@hang_timeout_option
@click.pass_context
def encode(
    ctx: click.Context,
    recipe: Path,
    images: Path | None,
    out: Path,
    splits: Sequence[Literal["train", "val"]],
    batch_size: int,
    flip: bool,
    sample: bool,
    dtype: Literal["float16", "bfloat16", "float32"],
    max_skipped: int,
    log_every: float,
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    procs: int | None,
    deadline: float | None,
    hang_timeout: float,
) -> None:
    """Write the latents of images, made by the autoencoder of RECIPE.

    A command that was interrupted or killed goes on when it is given again. The images of --images are in folders
    train/CLASS and val/CLASS, or CLASS; they are cropped to the size that the recipe's dataset has.
    """
    loaded = load_with_options(recipe, changes, files, blocked)
    dataset = _folder_like(loaded.dataset, images) if images else loaded.dataset
    if not launch.launched():  # Before any process is started, so that faults are said once.
        dataset.check()
    start_processes(ctx, procs)

    with stop.listening():
        from dit_toolkit import distributed
        from dit_toolkit.encoding import Options, encode

        options = Options(
            splits=tuple(dict.fromkeys(splits)) or ("train", "val"),
            batch_size=batch_size,
            flip=flip,
            sample=sample,
            dtype=dtype,
            max_skipped=max_skipped,
            log_every=log_every,
        )
        with watchdog.watching(hang_timeout):
            encode(dataset, loaded.autoencoder, out, options, deadline=deadline)
            emit(str(out))
            distributed.wait()


@click.command()
@click.argument("store", type=FOLDER)
def verify(store: Path) -> None:
    """Compare every byte of the latent store STORE with its checksums."""
    from dit_toolkit.latents.verify import verify

    manifest = verify(store)
    for name, entry in manifest.splits.items():
        emit(f"{store / entry.file}: {entry.rows:,} rows of {name}, sound")


@click.command()
@click.argument("store", type=FOLDER)
@click.option("--out", type=NEW, metavar="PNG", help="Picture to write: images beside what their latents decode to.")
@click.option("--count", type=click.IntRange(1, 100), default=8, show_default=True, help="Images in the picture.")
@json_option
def inspect(store: Path, out: Path | None, count: int, as_json: bool) -> None:
    """Print what the latent store STORE holds, and draw some of it.

    The statistics are those of latents as a model sees them; their standard deviation should be about 1.
    """
    if out:
        if out.suffix.lower() != ".png":
            raise DataError(f"{out}: the name must end in .png")
        refuse_existing(out)

    from dit_toolkit.latents.inspect import describe, picture

    found = describe(store)
    if out:
        picture(store, count).save(out)
    emit_json(found) if as_json else emit(_text(found))


def _text(found: dict[str, Any]) -> str:
    image, latent = (" x ".join(map(str, found[key])) for key in ("image", "latent"))
    mirrored = ", of mirrored images too" if found["flip"] else ""
    facts = [
        ["images", f"{image}, {found['classes']} classes, from {found['source'].get('path', found['source']['kind'])}"],
        ["latents", f"{latent}, {found['content']} in {found['dtype']}{mirrored}"],
        ["autoencoder", f"{found['autoencoder']['kind']} {found['autoencoder'].get('path', '')}".rstrip()],
    ]
    for name, split in found["splits"].items():
        least, most, empty = (split["per_class"][key] for key in ("least", "most", "empty"))
        facts.append([name, f"{split['latents']:,}, {least:,} to {most:,} of a class, {split['left_out']} left out"])
        if empty:
            facts.append(["", f"{empty} classes have none"])
    rows = [
        [f"{name} {number}", f"{channel['mean']:.3f}", f"{channel['std']:.3f}"]
        for name, split in found["splits"].items()
        for number, channel in enumerate(split["channels"])
    ]
    return "\n\n".join([table(facts), table([["channel", "mean", "std"], *rows], numbers=True)])


def _folder_like(dataset: Dataset, images: Path) -> Dataset:
    """Images of a folder in the size, channels and number of classes of another dataset."""
    from dit_toolkit.datasets.image_folder import ImageFolder

    channels, *sides = dataset.shape
    size = sides[0] if sides[0] == sides[1] else (sides[0], sides[1])
    return ImageFolder(
        path=str(images),
        image_size=size,
        channels=channels,  # type: ignore[arg-type]
        num_classes=len(dataset.class_names),
    )
