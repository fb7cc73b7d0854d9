"""The sampler `restart`: an ODE solver that goes back up through noise, again and again, to forget its errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, gt, le, lt, optional

from dit_toolkit import Objective, Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit import Denoiser, Generator, Schedule


@frozen(kw_only=True)
class Restart(Sampler):
    """Restart sampling (Xu et al. 2023, "Restart Sampling for Improving Generative Processes", algorithm 1).

    Heun's method from noise to data; on arriving at `t_min`, noise is added back up to `t_max` and the way down walked
    again, `restarts` times. The noise contracts the errors made above; between restarts the ODE makes few new ones.
    Times are on the toolkit's clock, 0 = data and 1 = noise; `t_min` is moved to the nearest of the sampler's times.
    """

    kind = "restart"
    order = 2
    num_steps: int = field(default=25, validator=[ge(1), le(1_000_000)])
    restarts: int = field(default=2, validator=[ge(0), le(1000)])
    """K, how often the interval is walked again; 0 is Heun's method."""
    t_min: float = field(default=0.1, validator=[gt(0), lt(1)])
    t_max: float = field(default=0.3, validator=[gt(0), le(1)])
    restart_steps: int | None = field(default=None, validator=optional([ge(1), le(1_000_000)]))
    """Steps from t_max to t_min; as fine as `num_steps` are on average unless given."""

    def __attrs_post_init__(self) -> None:
        if self.t_min >= self.t_max:
            raise ValueError(f"t_min ({self.t_min:g}) must be below t_max ({self.t_max:g})")

    @property
    def calls_per_step(self) -> int:  # type: ignore[override]
        """Two for each step, and two for each step of a restart, spread over all."""
        return 2 + math.ceil(2 * self.restarts * self._again / self.num_steps)

    def check(self, objective: Objective) -> None:
        """Refuse more steps than the objective has, and too few to stop between 0 and t_max."""
        self._turn(objective.times(self.num_steps))

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data; the last step is Euler's, which needs no velocity at t = 0."""
        times = denoiser.times(self.num_steps)
        turn = self._turn(times)
        low = times[turn]
        again = [self.t_max + (low - self.t_max) * i / self._again for i in range(self._again)] + [low]
        x = heun(denoiser, noise, times[: turn + 1])  # (N, C, H, W) at t_min
        for _ in range(self.restarts):
            x = add_noise(denoiser.schedule, x, low, self.t_max, generator)  # (N, C, H, W) at t_max
            x = heun(denoiser, x, again)  # (N, C, H, W) at t_min
        return heun(denoiser, x, times[turn:])  # (N, C, H, W) at 0

    @property
    def _again(self) -> int:
        """How many steps a restart has."""
        return self.restart_steps or max(1, round(self.num_steps * (self.t_max - self.t_min)))

    def _turn(self, times: Sequence[float]) -> int:
        """Which of the times stands for t_min: the nearest one below t_max, and above 0."""
        inside = [i for i, t in enumerate(times) if 0 < t < self.t_max]
        if not inside:
            raise ValueError(f"num_steps ({self.num_steps}) leaves no time between 0 and t_max ({self.t_max:g})")
        return min(inside, key=lambda i: abs(times[i] - self.t_min))


def heun(denoiser: Denoiser, x: Tensor, times: Sequence[float]) -> Tensor:
    """Carry x (N, C, H, W) along the probability-flow ODE through the times (Karras et al. 2022, algorithm 1)."""
    for t, s in pairwise(times):
        here = denoiser(x, t).velocity  # (N, C, H, W)
        ahead = x + (s - t) * here  # (N, C, H, W)
        x = ahead if s == 0 else x + (s - t) / 2 * (here + denoiser(ahead, s).velocity)  # (N, C, H, W)
    return x


def add_noise(schedule: Schedule, x: Tensor, s: float, t: float, generator: Generator | None = None) -> Tensor:
    """Draw x_t from q(x_t | x_s) for t > s: N(r x_s, sigma_t^2 - r^2 sigma_s^2), where r = alpha_t / alpha_s."""
    import torch

    z = torch.randn_like(x) if generator is None else generator.randn_like(x)
    ratio = float(schedule.alpha(t) / schedule.alpha(s))
    return ratio * x + math.sqrt(schedule.sigma(t) ** 2 - (ratio * schedule.sigma(s)) ** 2) * z


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the sampler."""
    return [Restart]
