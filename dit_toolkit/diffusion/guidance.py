"""Guidance: denoisers that wrap denoisers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from attrs import evolve
from torch import Tensor

from dit_toolkit.diffusion.denoiser import Denoiser, LabelledDenoiser, Prediction
from dit_toolkit.errors import RecipeError

if TYPE_CHECKING:
    from dit_toolkit.diffusion.schedule import Schedule
    from dit_toolkit.recipe.schema import Recipe

EDGE = 1e-9
"""Rounding that a time at the edge of an interval may have."""


class Passes(Protocol):
    """The two predictions that guidance is made of, of which the first is the better one."""

    @property
    def strong(self) -> Denoiser:
        """The better one alone."""
        ...

    def __call__(self, x: Tensor, t: float) -> tuple[Prediction, Prediction]:
        """Predict twice from x (N, C, H, W) at time t."""
        ...


class Separate:
    """Two denoisers one after the other: other classes of one network, or another network."""

    def __init__(self, strong: Denoiser, weak: Denoiser) -> None:
        self.strong, self.weak = strong, weak

    def __call__(self, x: Tensor, t: float) -> tuple[Prediction, Prediction]:
        """Predict with two passes of N images."""
        return self.strong(x, t), self.weak(x, t)


class Joint:
    """Two lists of classes (N,) of one network, as one batch."""

    def __init__(self, strong: LabelledDenoiser, labels: Tensor) -> None:
        self.strong, self.both = strong, strong.with_labels(torch.cat([strong.labels, labels]))  # (2 N,)

    def __call__(self, x: Tensor, t: float) -> tuple[Prediction, Prediction]:
        """Predict with one pass of 2 N images."""
        both = self.both(torch.cat([x, x]), t)
        parts = (both.x0, both.eps, both.velocity, both.variance_fraction)
        halves = [(None, None) if part is None else part.chunk(2) for part in parts]
        strong, weak = (Prediction(*(half[i] for half in halves)) for i in (0, 1))  # type: ignore[arg-type]
        return strong, weak


class Guidance:
    """weak + scale (strong - weak) of two predictions; a learnt variance is that of the strong one.

    With the class as strong and none as weak it is classifier-free guidance (Ho & Salimans 2022, equation 6), with a
    network and a worse version of it autoguidance (Karras et al. 2024, arXiv 2406.02507).

    Args:
        passes: give both predictions.
        scale: 1 gives the strong prediction itself, 0 the weak one.
        channels: guide only the first channels; all unless given.
        rescale: phi in `rescaled`; 0 leaves the guided prediction as it is.
    """

    def __init__(self, passes: Passes, scale: float, channels: int | None = None, rescale: float = 0.0) -> None:
        self.passes, self.scale, self.channels, self.rescale = passes, scale, channels, rescale
        self.schedule, self.times = passes.strong.schedule, passes.strong.times

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t with two passes."""
        strong, weak = self.passes(x, t)
        guided = evolve(weak.lerp(strong, self._weight(x)), variance_fraction=strong.variance_fraction)
        return rescaled(guided, strong, self.rescale, self.schedule, t) if self.rescale else guided

    def _weight(self, x: Tensor) -> float | Tensor:
        if self.channels is None:
            return self.scale
        weight = torch.ones_like(x[:1, :, :1, :1])  # (1, C, 1, 1)
        weight[:, : self.channels] = self.scale
        return weight


class Interval:
    """One denoiser at times in [low, high], another elsewhere (Kynkaanniemi et al. 2024, arXiv 2404.07724)."""

    def __init__(self, inside: Denoiser, outside: Denoiser, low: float, high: float) -> None:
        self.inside, self.outside, self.low, self.high = inside, outside, low, high
        self.schedule, self.times = outside.schedule, outside.times

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t with the passes of one of the two."""
        return (self.inside if self.low - EDGE <= t <= self.high + EDGE else self.outside)(x, t)


def rescaled(guided: Prediction, strong: Prediction, phi: float, schedule: Schedule, t: float) -> Prediction:
    """Give the guided velocity of each image the deviation of the unguided one (Lin et al. 2023, section 3.4).

    velocity' = phi velocity std(strong) / std(velocity) + (1 - phi) velocity, and data and noise with it, so that
    x_t = alpha x0 + sigma eps still holds. On a variance-preserving path this is the paper's v-prediction.
    """
    wanted, seen = (p.velocity.flatten(1).std(1).view(-1, 1, 1, 1) for p in (strong, guided))  # (N, 1, 1, 1)
    change = phi * (wanted / seen.clamp(min=torch.finfo(seen.dtype).tiny) - 1) * guided.velocity  # (N, C, H, W)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    turn = alpha * float(schedule.sigma_prime(t)) - sigma * float(schedule.alpha_prime(t))
    return evolve(
        guided,
        x0=guided.x0 - sigma / turn * change,
        eps=guided.eps + alpha / turn * change,
        velocity=guided.velocity + change,
    )


def guided(
    passes: Passes,
    *,
    scale: float,
    channels: int | None = None,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
) -> Denoiser:
    """Guide within an interval of times; elsewhere, and everywhere at scale 1, make the strong pass alone."""
    if scale == 1:
        return passes.strong
    inside, (low, high) = Guidance(passes, scale, channels, rescale), interval
    return inside if (low, high) == (0.0, 1.0) else Interval(inside, passes.strong, low, high)


def check_guide(recipe: Recipe, weaker: Recipe) -> None:
    """Refuse a model that cannot guide another one.

    Raises:
        RecipeError: other latents, classes or noise at a time; each with both sides.
    """
    faults = []
    here, there = (each.autoencoder.latent_shape(each.dataset.shape) for each in (recipe, weaker))
    if there != here:
        faults.append(f"its latents are {there} (channels, height, width), those of this model {here}")
    if weaker.model.num_classes != recipe.model.num_classes:
        faults.append(f"it has {weaker.model.num_classes} classes, this model {recipe.model.num_classes}")
    t = np.linspace(0.0, 1.0, 65)
    ours, theirs = ([r.objective.schedule.alpha(t), r.objective.schedule.sigma(t)] for r in (recipe, weaker))
    if not np.allclose(ours, theirs, rtol=1e-6, atol=1e-6):
        faults.append(
            f"its objective {weaker.objective.kind!r} has other noise at a time than {recipe.objective.kind!r} here"
        )
    if faults:
        raise RecipeError(*(f"sample.guide: {fault}" for fault in faults))
