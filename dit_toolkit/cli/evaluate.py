"""`evaluate` and `reference`: what samples are worth, and what real images they are compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dit_toolkit.cli.listed import parse
from dit_toolkit.cli.options import (
    FILE,
    NEW,
    PATH,
    json_option,
    load_plugins,
    load_with_options,
    plugin_options,
    recipe_argument,
    set_option,
)
from dit_toolkit.cli.shell import emit, emit_json
from dit_toolkit.components import Extractor, Metric, RealImages
from dit_toolkit.errors import DataError, RecipeError
from dit_toolkit.files import refuse_existing, storage, write_atomically
from dit_toolkit.progress import is_main

if TYPE_CHECKING:
    from dit_toolkit.evaluation import Results
    from dit_toolkit.recipe.schema import Recipe
    from dit_toolkit.references import Reference


@click.command()
@click.argument("samples", type=PATH)
@click.option("--reference", type=FILE, metavar="FILE.npz", help="Real images, or their statistics; ADM's batches too.")
@click.option("--recipe", type=FILE, help="Its metrics and data are used; needed where there is no --reference.")
@click.option("--metrics", "listed", multiple=True, metavar="KIND,...", help="Metrics, in place of the recipe's.")
@set_option("evaluate.metrics=[]")
@plugin_options
@click.option("--out", type=NEW, metavar="FILE.json", help="Write the results, too.")
@json_option
def evaluate(
    samples: Path,
    reference: Path | None,
    recipe: Path | None,
    listed: Sequence[str],
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    out: Path | None,
    as_json: bool,
) -> None:
    """Compute metrics of SAMPLES, with their floor: the same of real images.

    SAMPLES is an .npz file or a folder of images; what is known of them is read from the .json file beside. They are
    compared with a --reference, or with the held-out images of a --recipe. A metric is a KIND or a TOML table such as
    {kind="frechet-distance",extractor={kind="fashion"}}.
    """
    if out:
        refuse_existing(out)
    if (samples / "checkpoints").is_dir():
        raise DataError(
            f"{samples}: is a run; give samples.npz of a folder in {samples / 'samples'}, or draw them by",
            f"  dit-toolkit sample {samples} --out samples.npz",
        )
    if not recipe and not reference:
        raise DataError("what to compare with: give --reference FILE.npz or --recipe RECIPE")
    if changes and not recipe:
        raise DataError("--set changes a recipe; give --recipe, or name the metrics with --metrics")
    loaded = load_with_options(recipe, changes, files, blocked) if recipe else None
    with load_plugins(files if not recipe else (), blocked if not recipe else ()):
        metrics = _listed(listed, Metric, "--metrics")

    from dit_toolkit import distributed, stop

    with stop.listening():
        results = _evaluate(samples, reference, loaded, metrics, distributed.device())
    if out:
        with storage(out):
            write_atomically(out, json.dumps(results.as_dict(), indent=1))
    if as_json:
        emit_json(results.as_dict())
    elif is_main():
        from rich.console import Console

        from dit_toolkit.evaluation import table

        Console().print(table(results))


@click.command()
@recipe_argument
@click.option("--out", type=NEW, required=True, metavar="FILE.npz", help="File to write.")
@click.option("--split", type=click.Choice(["train", "val"]), default="val", show_default=True, help="Which images.")
@click.option("--num-images", type=click.IntRange(2), metavar="N", help="So many of them, evenly of all classes.")
@click.option("--extractors", "listed", multiple=True, metavar="KIND,...", help="Who looks; the recipe's unless given.")
@click.option("--features", is_flag=True, help="Keep what was seen in each image, as distances to neighbours need.")
@set_option("dataset.image_size=64")
@plugin_options
def reference(
    recipe: Path,
    out: Path,
    split: str,
    num_images: int | None,
    listed: Sequence[str],
    features: bool,
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
) -> None:
    """Let extractors look at the real images of RECIPE, and write what they saw for `evaluate --reference`.

    The extractors are those of the recipe's metrics, or those given: a KIND or a TOML table such as
    {kind="inception",path="weights.pth"}.
    """
    if out.suffix != ".npz":
        raise DataError(f"{out}: the name must end in .npz")
    refuse_existing(out)
    loaded = load_with_options(recipe, changes, files, blocked)
    extractors = _listed(listed, Extractor, "--extractors") or _extractors(loaded)
    if not extractors:
        raise RecipeError("evaluate.metrics: none has an extractor; name one with --extractors")
    loaded.dataset.check()

    import numpy as np

    from dit_toolkit import distributed, stop
    from dit_toolkit.evaluation import evenly, real_images
    from dit_toolkit.recipe.structure import unstructure
    from dit_toolkit.references import write_reference

    real = real_images(loaded.dataset, distributed.device())
    images = real.train if split == "train" and real.train else real.reference
    if num_images and num_images < len(images):
        images = images.apart(evenly(images, num_images))
    facts = {
        "dataset": unstructure(loaded)["dataset"],
        "split": split,
        "image": list(loaded.dataset.shape),
        "classes": np.bincount(images.labels, minlength=len(loaded.dataset.class_names)).tolist(),
    }
    with stop.listening():
        write_reference(out, images, extractors, facts, features=features)
    emit(str(out))


def _evaluate(
    path: Path, reference: Path | None, recipe: Recipe | None, metrics: Sequence[Metric], device: str
) -> Results:
    import attrs

    from dit_toolkit import evaluation
    from dit_toolkit.drawing.labelled import read_samples
    from dit_toolkit.imageset import ImageSet
    from dit_toolkit.references import read_reference

    read = read_samples(path)
    if recipe:
        kept = attrs.evolve(recipe.evaluate, metrics=list(metrics) or recipe.evaluate.metrics)
        if reference:
            kept = attrs.evolve(kept, reference=str(reference))
        recipe = attrs.evolve(recipe, evaluate=kept)
        return evaluation.evaluate(read.images, read.labels, recipe, facts=read.facts, device=device)
    found = read_reference(reference or Path(), device)
    return evaluation.compare_with(
        ImageSet(read.images, read.labels, device=device),
        RealImages(found.images),
        metrics or _answerable(found),
        facts=evaluation.told(read.facts),
        reference=found,
        class_names=read.facts.get("class_names", ()),
    )


def _answerable(reference: Reference) -> list[Metric]:
    """The metrics that a reference can answer, for want of a list of them."""
    from dit_toolkit.metrics.fid import FID
    from dit_toolkit.metrics.frechet_distance import FrechetDistance
    from dit_toolkit.metrics.inception_score import InceptionScore
    from dit_toolkit.metrics.precision import Precision
    from dit_toolkit.metrics.recall import Recall
    from dit_toolkit.metrics.sfid import SFID
    from dit_toolkit.recipe.structure import structure

    images = reference.images
    own = [structure(each, Extractor) for each in reference.facts.get("extractors", [])]  # type: ignore[type-abstract]
    inception = [each for each in own if each.kind == "inception"]
    options: dict[str, Any] = {"extractor": inception[0]} if inception else {}
    metrics: list[Metric] = []
    if images.knows("inception"):
        metrics += [FID(**options), InceptionScore(**options)]
    if images.knows("inception", "spatial"):
        metrics.insert(1, SFID(**options))
    if images.knows("inception", each=True):
        metrics += [Precision(**options), Recall(**options)]
    return metrics + [FrechetDistance(extractor=each) for each in own if each.kind != "inception"]


def _listed(texts: Sequence[str], base: Any, flag: str) -> list[Any]:
    found, lines = parse(",".join(texts), base, flag)
    if lines:
        raise RecipeError(*lines)
    return found


def _extractors(recipe: Recipe) -> list[Extractor]:
    """The extractors of a recipe's metrics, each once."""
    found = [getattr(metric, "extractor", None) for metric in recipe.evaluate.metrics]
    return list(dict.fromkeys(each for each in found if each is not None))
