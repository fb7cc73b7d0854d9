"""Flow matching: learn the way from data to noise, by its velocity or by what gives it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, gt, le

from dit_toolkit.diffusion import targets
from dit_toolkit.objectives.regression import Regression, moved

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.paths import Path

RANGES = {"velocity": (0.0, 1.0), "x0": (0.0, 1.0), "epsilon": (0.0, 0.999), "score": (0.001, 0.999)}
"""Times on which a target is trained: those that divide by alpha or sigma keep away from where it is 0."""


@frozen(kw_only=True)
class FlowMatching(Regression):
    """Velocity matching on x = alpha x0 + sigma eps (Lipman et al. 2023; Ma et al. 2024, "SiT", section 2).

    Trained on t from 0 to 1; with target "epsilon" up to 0.999, with "score" from 0.001 to 0.999, since those divide by
    alpha or sigma. The velocity on path "vp", infinite at t = 0, is trained from 1e-5. The network is given 1000 t, so
    that the timestep embedding resolves it.
    """

    kind = "flow-matching"
    path: Literal["linear", "gvp", "vp"] = "linear"
    """alpha = 1 - t, sigma = t; the quarter circle; or the variance-preserving SDE (Ma et al. 2024, section 2)."""
    target: Literal["velocity", "x0", "epsilon", "score"] = "velocity"
    """What the network returns. For pixels x0 learns faster than the velocity (Li & He 2025)."""
    weighting: Literal["velocity", "uniform"] = "velocity"
    """Whose squared error the loss is: the velocity's whatever the target, with a weight of at most 400, or the
    target's own."""
    time_sampling: Literal["uniform", "logit-normal"] = "uniform"
    """How t is drawn in training: evenly, or as the logistic of a normal (Esser et al. 2024, section 3.1)."""
    logit_mean: float = field(default=0.0, validator=[ge(-100), le(100)])
    """Mean of the normal: more noise above 0."""
    logit_std: float = field(default=1.0, validator=[gt(0), le(100)])
    """Standard deviation of the normal."""
    shift: float = field(default=1.0, validator=[gt(0), le(100)])
    """Factor of sigma / alpha at drawn and sampled times: more noise above 1 (Esser et al. 2024, equation 23)."""

    def __attrs_post_init__(self) -> None:
        if self.path == "vp" and self.shift != 1:
            raise ValueError(
                f"shift ({self.shift:g}) needs path 'linear' or 'gvp': 'vp' ends before sigma / alpha does"
            )

    @cached_property
    def schedule(self) -> Path:
        """The path, on the times that the target allows."""
        from dit_toolkit.diffusion.paths import GVPSchedule, LinearSchedule, VPSchedule

        lowest, highest = RANGES[self.target]
        if self.path == "vp" and self.target == "velocity":
            lowest = 1e-5
        paths: dict[str, type[Path]] = {"linear": LinearSchedule, "gvp": GVPSchedule, "vp": VPSchedule}
        return paths[self.path](lowest, highest)

    @property
    def network_target(self) -> targets.Target:
        """By its name."""
        return {
            "velocity": targets.velocity,
            "x0": targets.x0,
            "epsilon": targets.epsilon,
            "score": targets.score,
        }[self.target]

    def times(self, num_steps: int, spacing: str = "uniform") -> list[float]:
        """num_steps + 1 times from the highest to 0, even ones unless another spacing is given, shifted."""
        from dit_toolkit.diffusion.steps import shifted, spaced

        return shifted(self.schedule, spaced(self.schedule, num_steps, spacing), self.shift)

    def drawn(self, u: Tensor) -> Tensor:
        """Even or logit-normal times in the schedule's range, shifted."""
        import torch

        if self.time_sampling == "logit-normal":
            normal = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))  # (N,)
            u = (self.logit_mean + self.logit_std * normal).sigmoid()  # (N,)
        low, high = self.schedule.lowest, self.schedule.highest
        return moved(self.schedule, low + (high - low) * u, self.shift)

    def network_time(self, t: Tensor) -> Tensor:
        """1000 t."""
        return 1000 * t

    def weight(self, t: np.ndarray) -> np.ndarray:
        """(d velocity / d output)^2, at most 400, so that on the straight line x0 is weighted by max(t, 0.05)^-2."""
        if self.weighting == "uniform":
            return np.ones_like(t)
        return np.minimum(targets.velocity_factor(self.schedule, self.network_target, t) ** 2, 400)
