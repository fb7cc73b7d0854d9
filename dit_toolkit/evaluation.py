"""Judge samples by metrics, each beside the values of real images (floor) and of noise (ceiling)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import field, frozen
from rich import box
from rich.table import Table

from dit_toolkit.components import Component, Dataset, Extractor, Metric, RealImages, Split
from dit_toolkit.errors import DataError
from dit_toolkit.images import to_uint8
from dit_toolkit.imageset import ImageSet, Pixels
from dit_toolkit.references import Reference, read_reference

if TYPE_CHECKING:
    from dit_toolkit.recipe.schema import Recipe

PAPERS = 50_000
"""Samples behind published numbers."""
NOISE = 1_000
"""Most images of noise behind a ceiling."""
T95 = 2.262
"""Standard errors from the middle to either end of a 95 % interval, for an error estimated from ten parts (t, 9)."""


@frozen(kw_only=True)
class Score:
    """One metric of the samples, and of what they should and should not be."""

    value: float
    error: float | None
    """Standard error of the value."""
    floor: float | None
    """The same metric of as many real images of the same classes; None where there are none."""
    ceiling: float | None
    """The same metric of at most 1,000 images of uniform noise."""
    floor_split: str
    """Where the real images are from: "reference", "train", or "halves" of the reference, one judged by the other."""
    floor_count: int
    """Real images behind the floor; fewer than samples where there are no more."""
    higher_is_better: bool | None
    """None where the best value is the floor."""
    unit: str = ""
    options: dict[str, Any] = field(factory=dict)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the value."""
        return None if self.error is None else (self.value - T95 * self.error, self.value + T95 * self.error)


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
        scores = {name: {**attrs.asdict(score), "interval": score.interval} for name, score in self.scores.items()}
        return {**attrs.asdict(self), "scores": scores}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Results:
        """Inverse of `as_dict`."""
        names = [option.name for option in attrs.fields(Score)]
        scores = {name: Score(**{key: score[key] for key in names}) for name, score in data["scores"].items()}
        return cls(**{**data, "scores": scores})


def evaluate(
    images: Pixels,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    facts: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Results:
    """Compute every metric of `recipe.evaluate.metrics`, with floor and ceiling.

    Args:
        images: samples, uint8 (N, H, W, 3), of the size of the recipe's images.
        labels: the classes asked for, (N,).
        recipe: says what the samples were made with; its dataset gives the real images, or `evaluate.reference`.
        facts: what the .json beside the samples tells of them; it goes before the recipe.
        device: where extractors run.

    Raises:
        DataError: images and labels do not fit each other or the dataset, or the reference cannot be read.
        Interrupted: something asked to stop.
    """
    labels = np.asarray(labels)
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
    start = time.perf_counter()
    scores = judge(metrics, samples, real, worst)
    extractors = {each.name: each for metric in metrics if (each := getattr(metric, "extractor", None))}
    counts = np.bincount(samples.labels, minlength=len(class_names)) if samples.labelled else None
    settings = {
        "num_samples": len(samples),
        **({} if counts is None else {"classes": classes_of(counts)}),
        **facts,
        "reference": {"file": real.reference.name, **reference.facts} if reference else real.reference.name,
        "reference_images": len(real.reference) or None,
        "extractors": {name: extractor.fingerprint() for name, extractor in extractors.items()},
    }
    return Results(
        scores=scores,
        settings=settings,
        warnings=[
            *(cautions(counts, class_names) if counts is not None and len(class_names) else []),
            *_cautions_of(samples, real, metrics, facts, reference),
        ],
        seconds=round(time.perf_counter() - start, 3),
    )


def judge(
    metrics: Sequence[Metric], samples: ImageSet, real: RealImages, worst: ImageSet | None = None
) -> dict[str, Score]:
    """Compute metrics by name, of samples, of real images in their place, and of the worst there are, such as noise."""
    found = {metric.name: (metric.compute(samples, real), metric.error(samples, real)) for metric in metrics}
    floors = _Floors(samples, real)
    scores = {}
    for metric in metrics:
        value, error = found[metric.name]
        perfect, against, source = floors.of(metric)
        scores[metric.name] = Score(
            value=value,
            error=error,
            floor=metric.compute(perfect, against) if perfect else None,
            ceiling=metric.compute(worst, real) if worst else None,
            floor_split=source,
            floor_count=len(perfect) if perfect else 0,
            higher_is_better=metric.higher_is_better,
            unit=metric.unit,
            options=_options(metric),
        )
    return scores


def perfect(metrics: Sequence[Metric], samples: ImageSet, real: RealImages) -> dict[str, float]:
    """The floor of each metric by name: its value for real images in the place of samples; nan where there are none."""
    floors, values = _Floors(samples, real), {}
    for metric in metrics:
        images, against, _ = floors.of(metric)
        values[metric.name] = metric.compute(images, against) if images else math.nan
    return values


class _Floors:
    """Real images in the place of samples: as many, and of the same classes. Each set is looked at once."""

    def __init__(self, samples: ImageSet, real: RealImages) -> None:
        self.samples, self.real = samples, real
        self.sets: dict[str, ImageSet] = {}

    def of(self, metric: Metric) -> tuple[ImageSet | None, RealImages, str]:
        """Images for a metric (None where there are none), what they are compared with, and where they are from."""
        reference, train = self.real
        if metric.floor == "reference":
            return self._set("reference", reference) if len(reference) else None, self.real, "reference"
        if train is not None:
            return self._set("train", train), self.real, "train"
        order = np.random.default_rng(0).permutation(len(reference))
        if len(order) < 2:
            return None, self.real, ""
        half, other = (reference.take(np.sort(part)) for part in np.array_split(order, 2))
        return half, RealImages(other), "halves"

    def _set(self, split: str, pool: ImageSet) -> ImageSet:
        if split not in self.sets:
            chosen = alike(self.samples, pool)
            self.sets[split] = pool.take(chosen) if pool is self.real.reference else pool.apart(chosen)
        return self.sets[split]


def evenly(images: ImageSet, count: int) -> np.ndarray:
    """Indices of so many of the images, as evenly of all classes as there are."""
    order = np.random.default_rng(0).permutation(len(images))
    labels = images.labels[order]
    turn = np.empty(len(order), np.int64)  # How many of its class come before each.
    for c in np.unique(labels):
        turn[labels == c] = np.arange(np.count_nonzero(labels == c))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def alike(samples: ImageSet, pool: ImageSet) -> np.ndarray:
    """Indices of as many images of a pool as there are samples, of every class; all of a class that has fewer."""
    order = np.random.default_rng(0).permutation(len(pool))
    if not (samples.labelled and pool.labelled):
        return order[: len(samples)]
    labels = pool.labels[order]
    return np.concatenate(
        [order[labels == c][:n] for c, n in zip(*np.unique(samples.labels, return_counts=True), strict=True)]
    )


def noise(samples: ImageSet, channels: int) -> ImageSet:
    """At most `NOISE` images of uniform noise, grey for one channel, with labels of the samples."""
    chosen = np.arange(len(samples))[:: -(-len(samples) // NOISE)]
    shape = (len(chosen), *samples.images.shape[1:])
    pixels = np.random.default_rng(0).integers(0, 256, (*shape[:3], channels), np.uint8)
    labels = samples.labels[chosen] if samples.labelled else None
    return ImageSet(np.broadcast_to(pixels, shape), labels, device=samples.device, name="noise")


@frozen
class _Read:
    """Images of a split, uint8 (N, H, W, 3), not augmented, read when they are asked for."""

    split: Split
    shape: tuple[int, int, int, int]

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return to_uint8(self.split.batch(index)[0])


def real_of(recipe: Recipe, device: str = "cpu") -> tuple[RealImages, Reference | None]:
    """What samples of a recipe are compared with, and the file that it names for that; raises as `real_images`."""
    path = recipe.evaluate.reference
    reference = read_reference(Path(path), device) if path else None
    return real_images(recipe.dataset, device, reference), reference


def real_images(dataset: Dataset, device: str = "cpu", reference: Reference | None = None) -> RealImages:
    """Both splits of a dataset; the held-out one is the reference, unless there is a file.

    Raises:
        DataError: there are no images, as where only latents are; beside a reference file that is no error.
    """
    sets: list[ImageSet | None] = []
    for name in ("val", "train"):
        try:
            split = dataset.open(name)
        except DataError:
            if reference is None:
                raise
            sets.append(None)
            continue
        pixels = _Read(split, (len(split), *dataset.shape[1:], 3))
        sets.append(ImageSet(pixels, split.labels, device=device, name=f"{name} images"))
    heldout, train = sets
    found = reference.images if reference else heldout
    if found is None:
        raise DataError(f"dataset {dataset.kind!r} has no held-out images")
    return RealImages(found, train)


def check(images: Pixels, labels: np.ndarray, dataset: Dataset) -> None:
    """Refuse samples that cannot be compared with the dataset."""
    _, height, width = dataset.shape
    classes = len(dataset.class_names)
    dtype = getattr(images, "dtype", np.dtype(np.uint8))
    if dtype != np.uint8 or images.shape[1:] != (height, width, 3) or not len(images):
        raise DataError(
            f"samples are {dtype} {images.shape}; the dataset {dataset.kind!r} asks for uint8 (N, {height}, {width}, 3)"
        )
    if labels.shape != (len(images),):
        raise DataError(f"{len(images)} samples, but labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}; {dataset.kind!r} has classes 0 to {classes - 1}"
        )


def settings(recipe: Recipe) -> dict[str, Any]:
    """Everything in a recipe that the numbers of its samples depend on, by the names of the .json beside these."""
    sample = recipe.sample
    return {
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


TOLD = (
    *("step", "weights", "weights_sha256", "cfg_scale", "cfg_channels", "cfg_interval", "cfg_rescale", "guide"),
    *("guide_sha256", "sampler", "objective", "autoencoder", "precision", "seed", "label_sampling"),
    *("fit_for_fid", "unfit_for_fid", "image", "parameters"),
)
"""What of the .json beside samples their numbers depend on."""


def told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of the .json beside samples their numbers depend on."""
    return {key: facts[key] for key in TOLD if key in facts}


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


def _cautions_of(
    samples: ImageSet,
    real: RealImages,
    metrics: Sequence[Metric],
    facts: Mapping[str, Any],
    reference: Reference | None,
) -> list[str]:
    """Say what else makes the numbers unfit for comparison with those of others."""
    lines = []
    if facts.get("fit_for_fid") is False:
        lines.append(f"{facts.get('unfit_for_fid') or 'the samples are marked as unfit for FID'}")
    if facts.get("weights") == "raw":
        lines.append("the weights are not averaged (raw), as those of published numbers are")
    if len(samples) < PAPERS and any(metric.by_number for metric in metrics):
        lines.append(
            f"distances depend on the number of samples: compare these with values of {len(samples):,}, or with the "
            f"floor; published ones are of {PAPERS:,}"
        )
    image = reference.facts.get("image") if reference else None
    if image and list(image[1:]) != list(samples.images.shape[1:3]):
        here, there = (" x ".join(map(str, size)) for size in (samples.images.shape[1:3], image[1:]))
        lines.append(f"samples have {here} pixels, the reference {there}")
    for metric in metrics:
        if isinstance(extractor := getattr(metric, "extractor", None), Extractor) and hasattr(metric, "output"):
            for name, images in (("samples", samples), ("reference images", real.reference)):
                moments = images.moments(extractor, metric.output)
                if 0 < moments.count <= len(moments.mean):
                    lines.append(
                        f"{metric.name}: {moments.count:,} {name} for {len(moments.mean):,} features; their covariance "
                        "is not of full rank"
                    )
    return lines


def table(results: Results) -> Table:
    """Lay the results out for a terminal, and below them what they depend on; the arrow says which way is better."""
    notes = [told_shortly(results.settings), *results.warnings]
    laid = Table(
        title=f"{results.settings['num_samples']:,} samples",
        caption="\n".join(filter(None, notes)) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    laid.add_column("metric", no_wrap=True)
    for column in ("samples", "95 %", "floor\n(real)", "ceiling\n(noise)", "better"):
        laid.add_column(column, justify="right", no_wrap=True)
    for name, s in results.scores.items():
        label = f"{name} ({s.unit})" if s.unit else name
        spread = "" if s.error is None else f"± {T95 * s.error:.2g}"
        bounds = ["" if x is None else f"{x:.4g}" for x in (s.floor, s.ceiling)]
        laid.add_row(label, f"{s.value:.4g}", spread, *bounds, ARROWS[s.higher_is_better])
    return laid


def told_shortly(settings: Mapping[str, Any]) -> str:
    """What the numbers depend on in a line: "step 2,400, ema weights, cfg_scale 3, heun 12 steps, ..."."""
    sampler, reference = settings.get("sampler") or {}, settings.get("reference")
    steps = sampler.get("num_steps")
    guided = settings.get("cfg_scale", 1) != 1
    about = reference["file"] if isinstance(reference, Mapping) else reference
    count = settings.get("reference_images")
    parts = [
        f"step {settings['step']:,}" if settings.get("step") else "",
        f"{settings['weights']} weights" if settings.get("weights") else "",
        f"cfg_scale {settings['cfg_scale']:g}" if guided else "",
        (sampler["kind"] + (f" {steps} steps" if steps else "")) if sampler else "",
        f"against {f'{count:,} ' if count else ''}{about}" if about else "",
        *(f"{name} {fingerprint[:8]}" for name, fingerprint in settings.get("extractors", {}).items()),
    ]
    return ", ".join(filter(None, parts))


ARROWS = {True: "↑", False: "↓", None: "≈ floor"}


def classes_of(counts: np.ndarray) -> str | dict[str, int]:
    """Say how many samples (num_classes,) are of each class: "balanced", or a number for each that has any."""
    return "balanced" if _balanced(counts) else {str(c): int(n) for c, n in enumerate(counts) if n}


def _balanced(counts: np.ndarray) -> bool:
    """Every class is there, as often as any other, give or take one."""
    return bool(counts.min() > 0 and counts.max() - counts.min() <= 1)


def _options(component: Component) -> dict[str, Any]:
    return attrs.asdict(component)  # type: ignore[arg-type]
