"""DPM-Solver++: few steps, each exact where the predicted data changes as a polynomial."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.samplers.clipping import Clipping

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class DPMSolverPP(Clipping):
    """DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095, algorithm 2 and appendix B: 2M; SDE-DPM-Solver++).

    One call a step: the predictions of the last steps are extrapolated as a polynomial in log(alpha / sigma). With
    order 3 the second difference has its full weight, 2 x that of the authors' code, which makes 3M third order.
    """

    kind = "dpm-solver++"
    num_steps: int = field(default=20, validator=[ge(1), le(1_000_000)])
    solver_order: Literal[1, 2, 3] = 2
    """Predictions used in a step: 1 is DDIM, 2 is 2M, 3 is 3M; 2 is the safer one with guidance."""
    solver_type: Literal["midpoint", "heun"] = "midpoint"
    """Of order 2: how the first difference is weighted, as at mid-step or exactly."""
    stochastic: bool = False
    """Solve the reverse SDE, with fresh noise in every step but the last."""
    lower_order_final: bool = True
    """Of fewer than 15 steps, let the order fall to 1 in the last ones, which is steadier."""

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data."""
        from dit_toolkit.diffusion.multistep import combine
        from dit_toolkit.random import randn_like

        denoiser, times = self.clipped(denoiser), self.times(denoiser)
        x = noise
        found: list[Tensor] = []  # predicted data, the newest first
        for t, (x_factor, factors, deviation) in zip(times, self._factors(denoiser, times), strict=False):
            found = [denoiser(x, t).x0, *found[: self.solver_order - 1]]
            x = combine(x_factor * x, factors, found)
            if deviation > 0:
                x = x + deviation * randn_like(x, generator)
        return x

    def _factors(self, denoiser: Denoiser, times: list[float]) -> list[tuple[float, list[float], float]]:
        """Of every step: the factors of x, of the predictions and of fresh noise."""
        from dit_toolkit.diffusion.multistep import steps, weights

        lower_last = self.lower_order_final and len(times) - 1 < 15
        factors = []
        for step in steps(denoiser.schedule, times, self.solver_order, lower_last=lower_last):
            h = 2 * step.h if self.stochastic else step.h
            midpoint = self.solver_type == "midpoint" and len(step.nodes) == 2
            found = weights(step.nodes, h, first=-math.expm1(-h) / 2 if midpoint else None)
            decay, deviation = 1.0, 0.0
            if self.stochastic:
                decay, deviation = math.exp(-step.h), step.sigma * math.sqrt(-math.expm1(-h))
            factors.append((step.x_factor * decay, [step.alpha * w for w in found], deviation))
        return factors
