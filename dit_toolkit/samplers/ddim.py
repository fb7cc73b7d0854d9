"""Implicit sampling: fewer steps, and none of them random unless asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.components import Objective
from dit_toolkit.samplers.clipping import Clipping

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.diffusion.schedule import Schedule
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class DDIMSampler(Clipping):
    """Denoising diffusion implicit models (Song et al. 2021, equation 12), on a respaced list of the trained steps."""

    kind = "ddim"
    eta: float = field(default=0.0, validator=[ge(0), le(1)])
    """Share of the DDPM noise in every step: 0 is deterministic, 1 has the variance beta-tilde."""
    use_clipped_eps: bool = True
    """Where the data is clipped, take the noise that fits it, and not the network's."""
    set_alpha_to_one: bool = True
    """End at the data; otherwise at the first trained step, with a little noise left, as Stable Diffusion does."""

    def check(self, objective: Objective) -> None:
        """Refuse a step list, or an end of it, that the objective does not have."""
        if not self.set_alpha_to_one and objective.schedule.num_timesteps is None:
            raise ValueError(
                f"set_alpha_to_one = false needs an objective of trained steps; {objective.kind!r} has continuous time"
            )
        super().check(objective)

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data; a learnt variance is ignored."""
        from dit_toolkit.random import randn_like

        denoiser, times = self.clipped(denoiser, keep_eps=not self.use_clipped_eps), self.times(denoiser)
        x = noise
        for t, (alpha, sigma, deviation) in zip(times, self._factors(denoiser.schedule, times), strict=False):
            found = denoiser(x, t)
            x = alpha * found.x0 + sigma * found.eps
            if deviation > 0:
                x = x + deviation * randn_like(x, generator)
        return x

    def _factors(self, schedule: Schedule, times: list[float]) -> list[list[float]]:
        """Of every step: the factors of data, noise and fresh noise."""
        from dit_toolkit.diffusion.schedule import posterior

        starts, ends = np.array(times[:-1]), np.array(times[1:])
        if not self.set_alpha_to_one:
            ends[-1] = 1 / (schedule.num_timesteps or 1)
        variance = self.eta**2 * np.maximum(posterior(schedule, starts, ends).variance, 0.0)
        left = np.sqrt(np.maximum(schedule.sigma(ends) ** 2 - variance, 0.0))
        factors: list[list[float]] = np.stack([schedule.alpha(ends), left, np.sqrt(variance)], 1).tolist()
        return factors
