"""Judge samples by a recipe's metrics, each beside the values of real images (floor) and of noise (ceiling)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs
import numpy as np
from attrs import field, frozen
from rich.table import Table

from dit_toolkit.components import Component, Dataset, Metric, RealImages
from dit_toolkit.errors import DataError
from dit_toolkit.images import to_uint8

if TYPE_CHECKING:
    from dit_toolkit.recipe.schema import Recipe

T = TypeVar("T")
Progress = Callable[[Sequence[T], str], Iterable[T]]
"""Wraps a sequence to show how far it is, like `rich.progress.track(sequence, description)`."""
BATCH = 1_000


@frozen(kw_only=True)
class Score:
    """One metric of the samples, and of what they should and should not be."""

    value: float
    floor: float
    """The same metric of as many real images of the same classes."""
    ceiling: float
    """The same metric of as many images of uniform noise."""
    floor_split: Literal["heldout", "train"]
    floor_count: int
    """Real images behind the floor; fewer than samples where the split has no more."""
    higher_is_better: bool | None
    """None where the best value is the floor."""
    unit: str = ""
    options: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Results:
    """What `evaluate` found; `as_dict` is plain JSON."""

    scores: dict[str, Score]
    settings: dict[str, Any]
    """Sample count, class balance, weights, guidance, sampler, ...: what a number means nothing without."""
    warnings: list[str]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings, numbers and None."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Results:
        """Inverse of `as_dict`."""
        return cls(**{**data, "scores": {name: Score(**score) for name, score in data["scores"].items()}})


def evaluate(
    images: np.ndarray, labels: np.ndarray, recipe: Recipe, *, progress: Progress[Any] | None = None
) -> Results:
    """Compute every metric of `recipe.evaluate.metrics`, with floor and ceiling.

    Args:
        images: samples, uint8 (N, H, W, 3), of the size of the recipe's images.
        labels: the classes asked for, (N,).
        recipe: says what the samples were made with; its dataset gives the real images.
        progress: wraps the list of metrics, as `rich.progress.track` does.

    Raises:
        DataError: images and labels do not fit each other or the dataset.
    """
    start = time.perf_counter()
    labels = np.asarray(labels)
    check(images, labels, recipe.dataset)
    real = real_images(recipe.dataset)
    channels, height, width = recipe.dataset.shape
    noise = np.random.default_rng(0).integers(0, 256, (len(images), height, width, channels), np.uint8)
    noise = np.broadcast_to(noise, images.shape)  # grey noise for grey images
    scores = {}
    for metric in progress(recipe.evaluate.metrics, "evaluating") if progress else recipe.evaluate.metrics:
        scores[metric.kind] = score(metric, images, labels, real, noise)
    counts = np.bincount(labels, minlength=len(recipe.dataset.class_names))
    return Results(
        scores=scores,
        settings=settings(counts, recipe),
        warnings=cautions(counts, recipe.dataset.class_names),
        seconds=round(time.perf_counter() - start, 3),
    )


def score(metric: Metric, images: np.ndarray, labels: np.ndarray, real: RealImages, noise: np.ndarray) -> Score:
    """Compute one metric for samples (N, H, W, 3), for real images of the same classes and for noise (N, H, W, 3)."""
    best, best_labels = perfect(metric, labels, real)
    return Score(
        value=metric.compute(images, labels, real),
        floor=metric.compute(best, best_labels, real),
        ceiling=metric.compute(noise, labels, real),
        floor_split=metric.floor,
        floor_count=len(best),
        higher_is_better=metric.higher_is_better,
        unit=metric.unit,
        options=_options(metric),
    )


def perfect(metric: Metric, labels: np.ndarray, real: RealImages) -> tuple[np.ndarray, np.ndarray]:
    """Real images (M, H, W, 3) of the metric's floor, with their labels (M,), of the classes of `labels` (N,)."""
    pool, pool_labels = (
        (real.train, real.train_labels) if metric.floor == "train" else (real.heldout, real.heldout_labels)
    )
    chosen = alike(labels, pool_labels)
    return pool[chosen], pool_labels[chosen]


def alike(labels: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Pick indices of `pool` (M,) with as many items of every class as `labels` (N,), or all where there are fewer."""
    order = np.random.default_rng(0).permutation(len(pool))
    return np.concatenate(
        [order[pool[order] == c][:n] for c, n in zip(*np.unique(labels, return_counts=True), strict=True)]
    )


def real_images(dataset: Dataset) -> RealImages:
    """Read both splits of a dataset whole, as uint8 (_, H, W, 3), not augmented."""
    arrays = []
    for name in ("train", "val"):
        split = dataset.open(name)
        parts = np.array_split(np.arange(len(split)), -(-len(split) // BATCH))
        arrays += [np.concatenate([to_uint8(split.batch(part)[0]) for part in parts]), split.labels]
    return RealImages(*arrays)


def check(images: np.ndarray, labels: np.ndarray, dataset: Dataset) -> None:
    """Refuse samples that cannot be compared with the dataset."""
    _, height, width = dataset.shape
    classes = len(dataset.class_names)
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, 3) or not len(images):
        raise DataError(
            f"samples are {images.dtype} {images.shape}; "
            f"the dataset {dataset.kind!r} asks for uint8 (N, {height}, {width}, 3)"
        )
    if labels.shape != (len(images),):
        raise DataError(f"{len(images)} samples, but labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}; {dataset.kind!r} has classes 0 to {classes - 1}"
        )


def settings(counts: np.ndarray, recipe: Recipe) -> dict[str, Any]:
    """Everything that the numbers depend on, given the samples per class (num_classes,)."""
    sample = recipe.sample
    return {
        "num_samples": int(counts.sum()),
        "classes": "balanced" if _balanced(counts) else {str(c): int(n) for c, n in enumerate(counts) if n},
        "weights": sample.weights,
        "cfg_scale": sample.cfg_scale,
        "cfg_channels": sample.cfg_channels,
        "cfg_interval": list(sample.cfg_interval),
        "cfg_rescale": sample.cfg_rescale,
        "guide": sample.guide,
        "sampler": {"kind": sample.sampler.kind, **_options(sample.sampler)},
        "objective": {"kind": recipe.objective.kind, **_options(recipe.objective)},
        "autoencoder": {"kind": recipe.autoencoder.kind, **_options(recipe.autoencoder)},
        "dataset": {"kind": recipe.dataset.kind, **_options(recipe.dataset)},
        "train_steps": recipe.train.max_steps,
        "global_batch_size": recipe.train.global_batch_size,
        "seed": sample.seed,
    }


def cautions(counts: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Say what makes the numbers unfit for comparison, given the samples per class (num_classes,)."""
    missing = [name for name, n in zip(class_names, counts, strict=True) if not n]
    if missing:
        named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        return [
            f"{len(missing)} of {len(counts)} classes have no sample ({named}); "
            "distances do not compare with those of all classes"
        ]
    if not _balanced(counts):
        return [f"classes are not balanced ({counts.min()} to {counts.max()} samples each)"]
    return []


def table(results: Results) -> Table:
    """Lay the results out for a terminal; the arrow says which way is better."""
    table = Table(title=f"{results.settings['num_samples']:,} samples", caption="\n".join(results.warnings) or None)
    table.add_column("metric")
    for column in ("samples", "floor (real)", "ceiling (noise)", "better"):
        table.add_column(column, justify="right")
    for name, s in results.scores.items():
        label = f"{name} ({s.unit})" if s.unit else name
        table.add_row(label, *(f"{x:.4g}" for x in (s.value, s.floor, s.ceiling)), ARROWS[s.higher_is_better])
    return table


ARROWS = {True: "↑", False: "↓", None: "≈ floor"}


def _balanced(counts: np.ndarray) -> bool:
    """Every class is there, as often as any other, give or take one."""
    return bool(counts.min() > 0 and counts.max() - counts.min() <= 1)


def _options(component: Component) -> dict[str, Any]:
    return attrs.asdict(component)  # type: ignore[arg-type]
