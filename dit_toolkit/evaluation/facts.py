"""What numbers depend on, and what keeps them from being compared with those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dit_toolkit.components import Component, Extractor, Metric, RealImages
from dit_toolkit.imageset import ImageSet
from dit_toolkit.references import Reference

if TYPE_CHECKING:
    from dit_toolkit.recipe.schema import Recipe

PAPERS = 50_000
"""Samples behind published numbers."""
TOLD = (
    *("step", "weights", "weights_sha256", "cfg_scale", "cfg_channels", "cfg_interval", "cfg_rescale", "guide"),
    *("guide_sha256", "sampler", "objective", "autoencoder", "precision", "seed", "label_sampling"),
    *("fit_for_fid", "unfit_for_fid", "image", "parameters"),
)
"""What of the .json beside samples their numbers depend on."""


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


def told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of the .json beside samples their numbers depend on."""
    return {key: facts[key] for key in TOLD if key in facts}


def classes_of(labels: np.ndarray, num_classes: int) -> str | dict[str, int]:
    """Say how many of the labels (N,) are each class: "balanced", or a number for each that has any."""
    counts = np.bincount(labels, minlength=num_classes)
    return "balanced" if _balanced(counts) else {str(c): int(n) for c, n in enumerate(counts) if n}


def _balanced(counts: np.ndarray) -> bool:
    """Every class is there, as often as any other, give or take one."""
    return bool(counts.min() > 0 and counts.max() - counts.min() <= 1)


def _cautions_of_classes(counts: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """What is to be minded of the samples per class (num_classes,)."""
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


def cautions(
    samples: ImageSet,
    real: RealImages,
    metrics: Sequence[Metric],
    facts: Mapping[str, Any],
    reference: Reference | None,
    class_names: Sequence[str],
) -> list[str]:
    """Say what makes the numbers unfit for comparison with those of others."""
    lines = []
    if samples.labelled and len(class_names):
        lines += _cautions_of_classes(np.bincount(samples.labels, minlength=len(class_names)), class_names)
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


def _options(component: Component) -> dict[str, Any]:
    return attrs.asdict(component)  # type: ignore[arg-type]
