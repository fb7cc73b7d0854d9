"""The value of a metric beside its error, its floor and its ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from attrs import field, frozen

from dit_toolkit.components import Metric, RealImages
from dit_toolkit.evaluation.real import Floors
from dit_toolkit.imageset import ImageSet

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


def judge(
    metrics: Sequence[Metric], samples: ImageSet, real: RealImages, worst: ImageSet | None = None
) -> dict[str, Score]:
    """Compute metrics by name, of samples, of real images in their place, and of the worst there are, such as noise."""
    found = {metric.name: (metric.compute(samples, real), metric.error(samples, real)) for metric in metrics}
    floors = Floors(samples, real)
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
            options=attrs.asdict(metric),  # type: ignore[arg-type]
        )
    return scores
