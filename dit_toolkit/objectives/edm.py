"""EDM: a preconditioned network that removes noise of any strength."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, gt, le

from dit_toolkit.diffusion.targets import Preconditioned
from dit_toolkit.objectives.regression import Regression, like

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.paths import GrowingSchedule


@frozen(kw_only=True)
class EDM(Regression):
    """Preconditioned denoising (Karras et al. 2022, equations 7 and 8, table 1) on x = x0 + sigma eps.

    On the toolkit's clock sigma = sigma_max t, trained on t in [sigma_min / sigma_max, 1]. The error of F has weight 1,
    which gives the error of D the weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 of table 1.
    """

    kind = "edm"
    sigma_min: float = field(default=0.002, validator=[gt(0), le(1e6)])
    sigma_max: float = field(default=80.0, validator=[gt(0), le(1e6)])
    sigma_data: float = field(default=0.5, validator=[gt(0), le(1e6)])
    """Standard deviation of the data."""
    p_mean: float = field(default=-1.2, validator=[ge(-100), le(100)])
    """Mean of log sigma in training; what is drawn beyond sigma_min and sigma_max is moved to them."""
    p_std: float = field(default=1.2, validator=[gt(0), le(100)])
    """Standard deviation of log sigma in training."""

    def __attrs_post_init__(self) -> None:
        if not self.sigma_min < self.sigma_max / 10:
            raise ValueError(f"sigma_min ({self.sigma_min:g}) must be below a tenth of sigma_max ({self.sigma_max:g})")

    @cached_property
    def schedule(self) -> GrowingSchedule:
        """alpha = 1, sigma = sigma_max t."""
        from dit_toolkit.diffusion.paths import GrowingSchedule

        return GrowingSchedule(self.sigma_min, self.sigma_max)

    @cached_property
    def network_target(self) -> Preconditioned:
        """F."""
        return Preconditioned(self.sigma_data)

    def times(self, num_steps: int, spacing: str = "karras") -> list[float]:
        """num_steps times from sigma_max to sigma_min (Karras et al. 2022, equation 5, rho = 7), and then 0."""
        from dit_toolkit.diffusion.steps import spaced

        return spaced(self.schedule, num_steps, spacing)

    def drawn(self, u: Tensor) -> Tensor:
        """exp(p_mean + p_std z) / sigma_max for standard normal z, within sigma_min and sigma_max."""
        import torch

        sigma = torch.exp(self.p_mean + self.p_std * torch.special.ndtri(u))  # (N,)
        return sigma.clamp(self.sigma_min, self.sigma_max) / self.sigma_max

    def network_time(self, t: Tensor) -> Tensor:
        """1000 c_noise = 250 log sigma, so that the timestep embedding resolves it."""
        return 250 * (t * self.sigma_max).log()

    def network_input(self, x: Tensor, t: Tensor | float) -> Tensor:
        """c_in x = x / sqrt(sigma^2 + sigma_data^2)."""
        if isinstance(t, (float, int)):
            return x * (1 / np.hypot(t * self.sigma_max, self.sigma_data))
        [scale] = like(x, 1 / np.hypot(t.double().cpu().numpy() * self.sigma_max, self.sigma_data))  # (N, 1, 1, 1)
        return x * scale
