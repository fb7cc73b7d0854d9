"""`grid`: pictures of samples, of how they come about, and of models and settings side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dit_toolkit.cli.options import FILE, NEW, PATH, sample_settings, set_option, weights_option
from dit_toolkit.cli.shell import emit
from dit_toolkit.errors import DataError
from dit_toolkit.files import refuse_existing

if TYPE_CHECKING:
    from PIL import Image

    from dit_toolkit.drawing.plan import Plan
    from dit_toolkit.sampling import Trained

CLASSES, ROWS, FRAMES = 10, 4, 30
"""Classes of a model that are shown, rows of an interpolation, and frames, where nothing is said."""


@click.command()
@click.argument("paths", type=PATH, nargs=-1, required=True, metavar="PATH...")
@click.option("--out", type=NEW, required=True, metavar="FILE", help="Picture to write: .png, or .gif, which moves.")
@click.option("--labels", metavar="CLASSES", help="Classes to show: 207,360 or 'golden retriever,tench'.")
@click.option("--nrow", type=click.IntRange(1, 100), default=10, show_default=True, help="Images in a row.")
@click.option("--per-class", type=click.IntRange(1), metavar="N", help="Images of each class; a row of them otherwise.")
@click.option("--image-size", type=click.IntRange(8, 4096), metavar="PIXELS", help="Larger side of an image.")
@click.option("--animate", is_flag=True, help="Show the steps of the sampler; a .png then is an APNG.")
@click.option("--frames", type=click.IntRange(2, 1000), metavar="N", help=f"Most frames; {FRAMES} unless given.")
@click.option("--interpolate", metavar="CLASSES", help="Go from class to class: 3,7 or 'Dress,Sneaker,Bag'.")
@click.option("--vary", metavar="KEY=VALUES", help="Values of an option side by side: cfg_scale=1,2,4.")
@click.option("--seed", type=int, help="The noise is a function of the seed and the image's number alone.")
@weights_option
@set_option("sampler.num_steps=20")
@click.option("--plugin", "files", multiple=True, type=FILE, help="Load a plugin from a .py file.")
def grid(
    paths: Sequence[Path],
    out: Path,
    labels: str | None,
    nrow: int,
    per_class: int | None,
    image_size: int | None,
    animate: bool,
    frames: int | None,
    interpolate: str | None,
    vary: str | None,
    seed: int | None,
    weights: str | None,
    changes: Sequence[str],
    files: Sequence[Path],
) -> None:
    """Put images into one picture, a row per class.

    PATH is an .npz file, a folder of images, or one of a folder for each class. It may be a run, a checkpoint or a file
    of weights, too, which then draws them: the images that `sample` draws of the same classes. Several of those, and
    several values of an option, are shown side by side with the same noise. Keys of --vary and --set are those of the
    recipe's [sample] table; --set takes those of the autoencoder too, as `autoencoder.KEY`.
    """
    moving = animate or out.suffix.lower() == ".gif"
    if out.suffix.lower() not in ((".png", ".gif") if moving else (".png",)):
        raise DataError(f"{out}: the name must end in .png, or in .gif for a moving picture")
    if frames and not moving:
        raise DataError(f"--frames: {out} does not move; add --animate, or write a .gif")
    if interpolate and (vary or labels or len(paths) > 1):
        raise DataError("--interpolate: shows one model and a chain of its classes, without --vary and --labels")
    refuse_existing(out)

    from dit_toolkit.grids.saving import save_animation, save_still

    images = [path for path in paths if _holds_images(path)]
    if images:
        drawing: dict[str, object] = {"--animate": moving, "--interpolate": interpolate, "--vary": vary}
        drawing |= {"--seed": seed is not None, "--weights": weights, "--set": changes}
        drawing |= {"a picture of several paths": len(paths) > 1}
        if given := [name for name, value in drawing.items() if value]:
            raise DataError(
                f"{images[0]}: its images are drawn already; {given[0]} needs a run, a checkpoint or a file of weights"
            )
        save_still(out, _show(paths[0], labels, nrow, per_class, image_size))
    else:
        from dit_toolkit.drawing.sides import load_sides

        settings = sample_settings(changes, {"seed": seed})
        sides = load_sides(paths, vary=vary, weights=weights, plugins=[str(file) for file in files], set=settings)
        plan = _plan(sides, labels, interpolate, nrow, per_class, image_size)
        if moving:
            save_animation(out, plan.frames(frames or FRAMES))
        else:
            save_still(out, plan.still())
    emit(str(out))


def _holds_images(path: Path) -> bool:
    """Whether a path is no run, checkpoint or file of weights."""
    if path.is_dir():
        return not any((path / name).exists() for name in ("recipe.toml", "checkpoints", "manifest.json"))
    return path.suffix == ".npz"


def _show(path: Path, labels: str | None, nrow: int, per_class: int | None, image_size: int | None) -> Image.Image:
    """Images that are there already."""
    import numpy as np

    from dit_toolkit.drawing.labelled import read_labelled
    from dit_toolkit.grids.sheet import grid
    from dit_toolkit.recipe.labels import parse_labels

    found = read_labelled(path, per_class)
    names, shown = found.class_names, found.labels
    if names == [""]:
        if labels is not None:
            raise DataError(f"--labels: the classes of the images in {path} are not known")
        per_class = per_class or len(shown)
    if labels is None:
        return grid(found.images, shown, names, nrow, per_class=per_class, image_size=image_size)
    kept = np.flatnonzero(np.isin(shown, chosen := parse_labels(labels, names)))
    if missing := [names[label] for label in chosen if label not in shown]:
        raise DataError(f"--labels: {path} has no image of {', '.join(missing)}")
    return grid(found.images[kept], shown[kept], names, nrow, per_class=per_class, image_size=image_size)


def _plan(
    sides: list[tuple[str, Trained]],
    labels: str | None,
    interpolate: str | None,
    nrow: int,
    per_class: int | None,
    image_size: int | None,
) -> Plan:
    """What models are to draw."""
    import numpy as np

    from dit_toolkit.drawing.interpolation import of_interpolation
    from dit_toolkit.drawing.plan import of_classes
    from dit_toolkit.grids.sheet import spread
    from dit_toolkit.recipe.labels import parse_labels

    trained = sides[0][1]
    if interpolate is not None:
        chain = parse_labels(interpolate, trained.class_names)
        return of_interpolation(trained, chain, nrow=nrow, rows=per_class or ROWS, image_size=image_size)
    if labels is not None:
        classes = parse_labels(labels, trained.class_names)
    else:
        classes = spread(np.array(trained.recipe.sample.labels or range(len(trained.class_names))), CLASSES).tolist()
    return of_classes(sides, classes, nrow=nrow, per_class=per_class, image_size=image_size)
