"""An embedded Runge-Kutta pair: as many steps as each image needs for the accuracy asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from attrs.validators import gt, le

from dit_toolkit.components import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator

FINEST = 24
"""Steps are never shorter than 2^-24 of the way."""

NODES = np.array([1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0])
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""Of Dormand and Prince; the last row is the solution of order 5, and its slope the next step's first."""
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Order 5 less order 4."""


@frozen(kw_only=True)
class AdaptiveODE(Sampler):
    """Dormand-Prince 5(4) on the probability-flow ODE (Dormand & Prince 1980; Song et al. 2021, section 4.3).

    Every image has steps of its own, so that it does not depend on its batch. They are 2^-k of the way and begin at
    multiples of that, so that images which need the same step share its calls; an image waits while others catch up.
    The variable is sigma / (alpha + sigma), in which paths are nearly straight. The last step, from the least noise
    that is trained, takes the predicted data.
    """

    kind = "adaptive-ode"
    rtol: float = field(default=1e-3, validator=[gt(0), le(1)])
    """Error allowed in a step relative to the image's values, as a root mean square over the image."""
    atol: float = field(default=1e-3, validator=[gt(0), le(1)])
    """Error allowed besides, absolutely."""

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:  # noqa: ARG002
        """Walk from noise (N, C, H, W) to data in steps that keep to the tolerances.

        Raises:
            ValueError: the tolerances cannot be met.
        """
        import torch

        from dit_toolkit.diffusion.multistep import combine
        from dit_toolkit.diffusion.ode import Coordinates

        schedule = denoiser.schedule
        path, least = Coordinates(schedule, bounded=True), schedule.ratio_range[0]
        start, end = float(path.u(schedule.highest)), max(float(path.u(schedule.lowest)), least / (1 + least))

        z = noise / float(path.scale(schedule.highest))
        slope = path.slope(denoiser(noise, schedule.highest))  # (N, C, H, W)
        place = np.zeros(len(z), dtype=np.int64)  # (N,) in units of the finest step
        level = np.full(len(z), 3)  # (N,) k of the step to try
        while (here := place.min()) < 2**FINEST:
            k = level[place == here].min()
            trying = (place == here) & (level == k)  # (N,)
            h = (end - start) * 2.0**-k
            times = path.time(start + here / 2**FINEST * (end - start) + h * NODES)  # (6,)
            slopes = [slope]
            for row, t, scale in zip(STAGES, times.tolist(), path.scale(times).tolist(), strict=True):
                ahead = combine(z, [h * a for a in row], slopes)  # (N, C, H, W)
                slopes.append(path.slope(denoiser(scale * ahead, t)))
            error = combine(h * ERROR[0] * slope, [h * e for e in ERROR[1:]], slopes[1:])  # (N, C, H, W)
            allowed = torch.maximum(z.abs(), ahead.abs()).mul_(self.rtol).add_(self.atol)
            excess = (error / allowed).square_().flatten(1).mean(1).double().cpu().numpy() ** 0.5  # (N,)
            done = trying & (excess <= 1)
            if done.all():
                z, slope = ahead, slopes[-1]
            else:
                moved = torch.as_tensor(done, device=z.device).view(-1, 1, 1, 1)
                z, slope = torch.where(moved, ahead, z), torch.where(moved, slopes[-1], slope)
            place[done] += 2 ** (FINEST - k)
            level[trying] = self._next(k, place[trying], excess[trying])
        t = float(path.time(end))
        return denoiser(float(path.scale(t)) * z, t).x0

    @staticmethod
    def _next(k: int, place: np.ndarray, excess: np.ndarray) -> np.ndarray:
        """The levels (M,) after a step of level k: one coarser at most, where error (M,) and place (M,) allow it."""
        if not np.isfinite(excess).all():
            raise ValueError("rtol and atol cannot be met: a prediction is not finite")
        wanted = np.ceil(np.log2(np.maximum(excess, 1e-10)) / 5 + (k - math.log2(0.9)))
        wanted = np.minimum(np.maximum(wanted, k + 1 - 2 * (excess <= 1)), k + 3).astype(np.int64)
        if (wanted > FINEST).any():
            raise ValueError(f"rtol and atol cannot be met, not even in steps of 2^-{FINEST} of the way; raise them")
        multiples = [int(p) or 2**FINEST for p in place]
        coarsest = np.array([FINEST + 1 - (p & -p).bit_length() for p in multiples])
        found: np.ndarray = np.maximum(wanted, coarsest)
        return found
