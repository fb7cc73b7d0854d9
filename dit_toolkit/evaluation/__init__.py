"""Judge samples by metrics, each beside the values of real images (floor) and of noise (ceiling)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dit_toolkit.components import Dataset, Metric, RealImages
from dit_toolkit.errors import DataError
from dit_toolkit.evaluation.facts import cautions, classes_of, settings, told
from dit_toolkit.evaluation.real import alike, evenly, noise, perfect, real_images, real_of
from dit_toolkit.evaluation.scores import T95, Results, Score, judge
from dit_toolkit.evaluation.shown import ARROWS, table, told_shortly
from dit_toolkit.imageset import ImageSet, Pixels
from dit_toolkit.references import Reference

if TYPE_CHECKING:
    from dit_toolkit.recipe.schema import Recipe

__all__ = [
    "ARROWS",
    "T95",
    "Results",
    "Score",
    "alike",
    "classes_of",
    "compare_with",
    "evaluate",
    "evenly",
    "judge",
    "noise",
    "perfect",
    "real_images",
    "real_of",
    "settings",
    "table",
    "told",
    "told_shortly",
]


def evaluate(
    images: Pixels,
    labels: np.ndarray | None,
    recipe: Recipe,
    *,
    facts: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Results:
    """Compute every metric of `recipe.evaluate.metrics`, with floor and ceiling.

    Args:
        images: samples, uint8 (N, H, W, 3), of the size of the recipe's images.
        labels: the classes asked for, (N,); None where they are not known, which some metrics refuse.
        recipe: says what the samples were made with; its dataset gives the real images, or `evaluate.reference`.
        facts: what the .json beside the samples tells of them; it goes before the recipe.
        device: where extractors run.

    Raises:
        DataError: images and labels do not fit each other or the dataset, or the reference cannot be read.
        Interrupted: something asked to stop.
    """
    labels = None if labels is None else np.asarray(labels)
    check(images, labels, recipe.dataset)
    real, reference = real_of(recipe, device)
    samples = ImageSet(images, labels, device=device)
    return compare_with(
        samples,
        real,
        recipe.evaluate.metrics,
        facts={**settings(recipe), **told(facts or {})},
        reference=reference,
        class_names=recipe.dataset.class_names,
        worst=noise(samples, recipe.dataset.shape[0]),
    )


def compare_with(
    samples: ImageSet,
    real: RealImages,
    metrics: Sequence[Metric],
    *,
    facts: Mapping[str, Any],
    reference: Reference | None = None,
    class_names: Sequence[str] = (),
    worst: ImageSet | None = None,
) -> Results:
    """Compute metrics of samples, and put beside them what they depend on and what is to be minded.

    Args:
        facts: what is known of the samples, by the names of the .json file beside them.
        reference: the file that `real.reference` was read from, if it was.
        class_names: of all classes; () where they are not known.
        worst: images for the ceiling.
    """
    if not metrics:
        raise DataError("no metric was asked for")
    if twice := {metric.name for metric in metrics if [each.name for each in metrics].count(metric.name) > 1}:
        raise DataError(f"two metrics are called {', '.join(sorted(twice))}; a value belongs to one")
    start = time.perf_counter()
    scores = judge(metrics, samples, real, worst)
    extractors = {each.name: each for metric in metrics if (each := getattr(metric, "extractor", None))}
    settings = {
        "num_samples": len(samples),
        **({"classes": classes_of(samples.labels, len(class_names))} if samples.labelled else {}),
        **facts,
        "reference": {"file": real.reference.name, **reference.facts} if reference else real.reference.name,
        "reference_images": len(real.reference) or None,
        "extractors": {name: extractor.fingerprint() for name, extractor in extractors.items()},
    }
    return Results(
        scores=scores,
        settings=settings,
        warnings=cautions(samples, real, metrics, facts, reference, class_names),
        seconds=round(time.perf_counter() - start, 3),
    )


def check(images: Pixels, labels: np.ndarray | None, dataset: Dataset) -> None:
    """Refuse samples that cannot be compared with the dataset."""
    _, height, width = dataset.shape
    classes = len(dataset.class_names)
    dtype = getattr(images, "dtype", np.dtype(np.uint8))
    if dtype != np.uint8 or images.shape[1:] != (height, width, 3) or not len(images):
        raise DataError(
            f"samples are {dtype} {images.shape}; the dataset {dataset.kind!r} asks for uint8 (N, {height}, {width}, 3)"
        )
    if labels is None:
        return
    if labels.shape != (len(images),):
        raise DataError(f"{len(images)} samples, but labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}; {dataset.kind!r} has classes 0 to {classes - 1}"
        )
