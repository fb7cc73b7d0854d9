"""Compare samplers on one trained model: the same noise and labels, the recipe's metrics, and what each costs."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from attrs import field, frozen

from dit_toolkit import stop
from dit_toolkit.comparison.plot import draw
from dit_toolkit.comparison.shown import table
from dit_toolkit.components import Metric, RealImages, Sampler
from dit_toolkit.drawing.facts import describe
from dit_toolkit.errors import DataError, Interrupted, RecipeError
from dit_toolkit.evaluation import classes_of, perfect, real_of, settings
from dit_toolkit.files import storage, write_atomically
from dit_toolkit.grids.sheet import grid
from dit_toolkit.images import NpzWriter, read_npz, to_uint8
from dit_toolkit.imageset import ImageSet
from dit_toolkit.progress import log, progress, share
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.recipe.structure import unstructure
from dit_toolkit.sampling import Trained, labels_of

__all__ = ["Comparison", "Outcome", "compare", "faults", "name_of", "table"]

SHOWN = 16
"""Samples of every setting in the picture."""


@frozen(kw_only=True)
class Outcome:
    """What one sampler drew, judged."""

    name: str
    """As on the command line: `heun:12`, and the options that are not defaults, also `cfg_scale` where it varies."""
    cfg_scale: float
    evaluations: float
    """Passes of a network for each image, counted; both passes of guidance."""
    seconds: float
    """For each image, decoding included."""
    scores: dict[str, float]


@frozen(kw_only=True)
class Comparison:
    """All outcomes in the order asked for; `attrs.asdict` is plain JSON."""

    outcomes: list[Outcome]
    floors: dict[str, float]
    """Each metric of as many real images."""
    directions: dict[str, bool | None]
    """Whether higher values are better; None where the floor is."""
    metric: str
    """What the recommendation goes by."""
    tolerance: float
    recommended: str
    """The cheapest outcome whose metric is within the tolerance of the best one."""
    rule: str
    """The same in words."""
    settings: dict[str, Any] = field(factory=dict)
    """What all have in common."""


def compare(
    trained: Trained,
    samplers: Sequence[Sampler],
    out: Path,
    *,
    cfg_scales: Sequence[float] = (),
    metric: str | None = None,
    tolerance: float | None = None,
) -> Comparison:
    """Draw the recipe's num_samples with each sampler and judge them.

    Writes `comparison.json`, `comparison.png`, `samples.png`, and of each sampler an .npz and a .json, into the folder
    `out`. Samplers whose samples are there already are not drawn again.

    Args:
        cfg_scales: strengths of guidance, with each of which each sampler draws; the recipe's alone unless given.
        metric: name of the metric to go by; the recipe's first one unless given.
        tolerance: how much worse than the best its value may be; two standard errors of the best unless given.

    Raises:
        RecipeError: a sampler does not fit the model's objective, or the recipe has no such metric.
        DataError: `out` holds samples with other settings.
        Interrupted: a signal asked to stop; what is finished is kept.
    """
    metrics = {each.name: each for each in trained.recipe.evaluate.metrics}
    if lines := faults(trained, samplers, metric, cfg_scales):
        raise RecipeError(*lines)
    judge = metrics[metric or next(iter(metrics))]
    out.mkdir(parents=True, exist_ok=True)
    (real, _), labels = real_of(trained.recipe, trained.device), labels_of(trained.recipe)
    scales: Sequence[float | None] = cfg_scales or [None]
    entries = [_Entry.of(trained, sampler, scale) for sampler in samplers for scale in scales]
    names = [entry.name for entry in entries]
    outcomes = [_outcome(entry, labels, real, out) for entry in entries]
    images = {name: read_npz(_place(out, name, ".npz")) for name in names}
    floors = perfect(list(metrics.values()), ImageSet(images[names[0]], labels, device=trained.device), real)
    worse = [_worse(judge, outcome.scores[judge.name], floors[judge.name]) for outcome in outcomes]
    best = int(np.argmin(worse))
    origin = "as asked for"
    if tolerance is None:
        tolerance = 2 * (judge.error(ImageSet(images[names[best]], labels, device=trained.device), real) or 0.0)
        origin = "two standard errors of it"
    near = [(o.evaluations, w, o.name) for o, w in zip(outcomes, worse, strict=True) if w <= worse[best] + tolerance]
    result = Comparison(
        outcomes=outcomes,
        floors=floors,
        directions={name: each.higher_is_better for name, each in metrics.items()},
        metric=judge.name,
        tolerance=tolerance,
        recommended=min(near)[2],
        rule=f"fewest network evaluations with {judge.name} within {tolerance:.3g} of the best, {names[best]}; "
        f"that is {origin}",
        settings=_common(trained, labels, cfg_scales),
    )
    _write(out / "comparison.json", attrs.asdict(result))
    draw(result, out / "comparison.png")
    first = np.concatenate([pixels[:SHOWN] for pixels in images.values()])
    rows = np.repeat(np.arange(len(names)), min(SHOWN, len(labels)))
    grid(first, rows, names, nrow=SHOWN).save(out / "samples.png")
    return result


@frozen
class _Entry:
    """One of what is compared."""

    name: str
    trained: Trained
    sampler: Sampler

    @classmethod
    def of(cls, trained: Trained, sampler: Sampler, scale: float | None) -> _Entry:
        """With its own strength of guidance, if it has one."""
        if scale is None:
            return cls(name_of(sampler), trained, sampler)
        guided = trained.with_sample(attrs.evolve(trained.recipe.sample, cfg_scale=scale))
        return cls(f"{name_of(sampler)} cfg_scale={scale:g}", guided, sampler)


def faults(
    trained: Trained, samplers: Sequence[Sampler], metric: str | None = None, cfg_scales: Sequence[float] = ()
) -> list[str]:
    """What cannot be compared, a line each."""
    known = [each.name for each in trained.recipe.evaluate.metrics]
    names = [name_of(sampler) for sampler in samplers]
    lines = [] if samplers else ["samplers: none given"]
    for sampler, name in zip(samplers, names, strict=True):
        try:
            sampler.check(trained.recipe.objective)
        except ValueError as error:
            lines.append(f"{name}: {error}")
    twice = sorted({scale for scale in cfg_scales if list(cfg_scales).count(scale) > 1})
    lines += [f"cfg_scale {scale:g}: given twice" for scale in twice]
    lines += [f"{name}: given twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if not known:
        lines.append("evaluate.metrics: the recipe has none to compare by")
    elif metric not in (None, *known):
        lines.append(f"metric: the recipe has no {metric!r}; it has {', '.join(known)}")
    return lines


def name_of(sampler: Sampler) -> str:
    """Name a sampler by kind, steps and the options that are not defaults: `heun:12 s_churn=4.0`."""
    options = [
        f"{option.name}={getattr(sampler, option.name)}"
        for option in attrs.fields(type(sampler))  # type: ignore[arg-type]
        if option.name != "num_steps" and getattr(sampler, option.name) != option.default
    ]
    steps = "" if sampler.num_steps is None else f":{sampler.num_steps}"
    return " ".join([f"{sampler.kind}{steps}", *options])


def _outcome(entry: _Entry, labels: np.ndarray, real: RealImages, out: Path) -> Outcome:
    """Find or draw the samples of one sampler, and judge them."""
    name, trained, sampler = entry.name, entry.trained, entry.sampler
    sidecar, metrics = _place(out, name, ".json"), trained.recipe.evaluate.metrics
    facts = {
        **describe(trained),
        "num_samples": len(labels),
        "sampler": unstructure(sampler),
        "metrics": [unstructure(m) for m in metrics],
    }
    found = _read(sidecar, facts)
    if found is None:
        cost = _draw(trained, sampler, labels, name, _place(out, name, ".npz"))
        names = list(trained.recipe.dataset.class_names)
        found = {**facts, **cost, "labels": labels.tolist(), "class_names": names}
        _write(sidecar, found)
    if "scores" not in found:
        images = ImageSet(read_npz(_place(out, name, ".npz")), labels, device=trained.device, name=name)
        found["scores"] = {metric.name: metric.compute(images, real) for metric in metrics}
        _write(sidecar, found)
    else:
        log(f"{name}: already there")
    scale = trained.recipe.sample.cfg_scale
    return Outcome(name=name, cfg_scale=scale, **{key: found[key] for key in ("evaluations", "seconds", "scores")})


def _draw(trained: Trained, sampler: Sampler, labels: np.ndarray, name: str, path: Path) -> dict[str, float]:
    """Draw all samples into an .npz; what each cost."""
    _, height, width = sizes(trained.recipe).image
    size, seconds = trained.recipe.sample.batch_size, 0.0
    path.unlink(missing_ok=True)  # of a process killed before it wrote the file beside
    with (
        progress(name, len(labels)) as bar,
        NpzWriter(path, len(labels), (height, width, 3)) as writer,
        _counted(trained) as passed,
    ):
        for first in range(0, len(labels), size):
            index = np.arange(first, min(first + size, len(labels)))
            with share(bar, len(index)) as done:
                start = time.perf_counter()
                images = trained.sample(labels[index], sampler=sampler, index=index, callback=done).cpu()
                seconds += time.perf_counter() - start
            writer.write(to_uint8(images))
            if stop.requested():
                raise Interrupted(f"stopped while comparing; the same command goes on ({path.parent} keeps the rest)")
        return {"evaluations": passed() / len(labels), "seconds": seconds / len(labels)}


@contextmanager
def _counted(trained: Trained) -> Iterator[Callable[[], int]]:
    """Count the images that go through the network, and through the guide's, once both have been warmed up."""
    guide = trained.guide if trained.recipe.sample.cfg_scale != 1 else None
    batch = labels_of(trained.recipe)[: trained.recipe.sample.batch_size]
    with torch.inference_mode():
        trained.denoiser(batch)(torch.zeros(len(batch), *sizes(trained.recipe).latent, device=trained.device), 0.5)
    total = 0

    def count(_: object, inputs: tuple[Any, ...]) -> None:
        nonlocal total
        total += len(inputs[0])

    networks = [each.network for each in (trained, guide) if each]
    hooks = [each.register_forward_pre_hook(count) for each in networks if isinstance(each, torch.nn.Module)]
    try:
        yield lambda: total
    finally:
        for hook in hooks:
            hook.remove()


def _worse(metric: Metric, value: float, floor: float) -> float:
    """A metric's value as one of which less is better; a value that is not finite is worst."""
    if not math.isfinite(value):
        return math.inf
    return abs(value - floor) if metric.higher_is_better is None else -value if metric.higher_is_better else value


def _common(trained: Trained, labels: np.ndarray, cfg_scales: Sequence[float]) -> dict[str, Any]:
    facts = {
        "num_samples": len(labels),
        "classes": classes_of(labels, trained.recipe.model.num_classes),
        **settings(trained.recipe),
        "weights": trained.weights,
        "step": trained.step,
    }
    differing = {"sampler", "cfg_scale"} if cfg_scales else {"sampler"}
    return {key: value for key, value in facts.items() if key not in differing}


def _place(out: Path, name: str, suffix: str) -> Path:
    return out / (re.sub(r"[^\w.=+-]+", "-", name) + suffix)


def _read(path: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """What a finished sampler left, None where there is nothing; DataError where the settings were others."""
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    differing = [key for key in facts.keys() | found.keys() if key in facts and facts[key] != found.get(key)]
    if differing:
        key = min(differing)
        raise DataError(f"{path}: other settings ({key} {found.get(key)} there, {facts[key]} here); give another --out")
    return found


def _write(path: Path, value: dict[str, Any]) -> None:
    with storage(path):
        write_atomically(path, json.dumps(value, indent=1))
