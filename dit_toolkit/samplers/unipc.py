"""UniPC: a multistep predictor whose every step is corrected by the next prediction, at no extra call."""

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
class UniPC(Clipping):
    """UniPC on predicted data (Zhao et al. 2023, "UniPC"), with B1(h) = h or B2(h) = exp(h) - 1."""

    kind = "unipc"
    num_steps: int = field(default=20, validator=[ge(1), le(1_000_000)])
    solver_order: Literal[1, 2, 3] = 2
    """Predictions that the predictor uses; corrected, the order of accuracy is one more. 2 is safer with guidance."""
    variant: Literal["bh1", "bh2"] = "bh2"
    """B(h) of the paper; the authors find bh1 better for unguided, bh2 for guided sampling in few steps."""
    corrector: bool = True
    """Correct each step once its end has been predicted from; without it this is a multistep DPM-Solver++."""
    lower_order_final: bool = True
    """Let the order fall to 1 in the last steps, which is steadier in few."""

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:  # noqa: ARG002
        """Walk from noise (N, C, H, W) to data."""
        from dit_toolkit.diffusion.multistep import combine

        denoiser, times = self.clipped(denoiser), self.times(denoiser)
        x = carried = noise
        found: list[Tensor] = []  # predicted data, the newest first
        corrector: list[float] = []
        for t, (x_factor, predictor, next_corrector) in zip(times, self._factors(denoiser, times), strict=False):
            found = [denoiser(x, t).x0, *found[: self.solver_order]]
            if corrector:
                x = combine(carried, corrector, found)
            carried, corrector = x_factor * x, next_corrector
            x = combine(carried, predictor, found)
        return x

    def _factors(self, denoiser: Denoiser, times: list[float]) -> list[tuple[float, list[float], list[float]]]:
        """Of every step: the factors of x, of the predictions up to its start, and up to its end, where corrected."""
        from dit_toolkit.diffusion.multistep import steps, weights

        factors = []
        for step in steps(denoiser.schedule, times, self.solver_order, lower_last=self.lower_order_final):
            bh1 = self.variant == "bh1" and math.isfinite(step.h)
            half, order = (step.h if bh1 else -math.expm1(-step.h)) / 2, len(step.nodes)
            predictor = weights(step.nodes, step.h, first=half if order == 2 else None)
            corrector = weights([1.0, *step.nodes], step.h, first=half if order == 1 else None)
            predictor, corrector = ([step.alpha * w for w in each] for each in (predictor, corrector))
            factors.append((step.x_factor, predictor, corrector if self.corrector else []))
        return factors
