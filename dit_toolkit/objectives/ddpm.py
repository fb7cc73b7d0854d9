"""Denoising diffusion: predict the noise, and where the reverse variance lies between its bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.components import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Prediction
    from dit_toolkit.diffusion.schedule import DiscreteSchedule
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class DDPM(Objective):
    """Noise prediction (Ho et al. 2020, equation 14) with a learnt variance (Nichol & Dhariwal 2021, section 3.1).

    The network is trained on steps i = 0 .. T-1; on the toolkit's clock step i is t = (i + 1) / T.
    """

    kind = "ddpm"
    num_timesteps: int = field(default=1000, validator=[ge(2), le(1_000_000)])
    beta_schedule: Literal["linear", "squared-cosine"] = "linear"
    beta_start: float | None = field(default=None)
    """First beta of the linear schedule; 1e-4 x 1000 / num_timesteps unless given."""
    beta_end: float | None = field(default=None)
    """Last beta of the linear schedule; 0.02 x 1000 / num_timesteps unless given."""
    learn_sigma: bool = True

    @beta_start.validator
    @beta_end.validator
    def _beta(self, attribute: object, value: float | None) -> None:
        if value is not None and not 0 < value < 1:
            raise ValueError(f"'{attribute.name}' must be between 0 and 1: {value}")  # type: ignore[attr-defined]

    def __attrs_post_init__(self) -> None:
        if self.beta_schedule == "linear" and not 0 < self._range[0] <= self._range[1] < 1:
            raise ValueError(
                f"num_timesteps ({self.num_timesteps}) gives betas from {self._range[0]:g} to {self._range[1]:g}; "
                "they must rise and lie between 0 and 1"
            )

    @property
    def _range(self) -> tuple[float, float]:
        scale = 1000 / self.num_timesteps
        start = 1e-4 * scale if self.beta_start is None else self.beta_start
        return start, 0.02 * scale if self.beta_end is None else self.beta_end

    @cached_property
    def betas(self) -> np.ndarray:
        """(T,) float64: linear (Ho et al. 2020), or squared-cosine up to 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
        if self.beta_schedule == "linear":
            return np.linspace(*self._range, self.num_timesteps)
        knots = np.cos((np.arange(self.num_timesteps + 1) / self.num_timesteps + 0.008) / 1.008 * math.pi / 2) ** 2
        return np.minimum(1 - knots[1:] / knots[:-1], 0.999)

    @cached_property
    def schedule(self) -> DiscreteSchedule:
        """The schedule of the trained steps."""
        from dit_toolkit.diffusion.schedule import DiscreteSchedule

        return DiscreteSchedule(np.cumprod(1 - self.betas))

    def out_channels(self, in_channels: int) -> int:
        """Twice the input with a learnt variance: noise first, variance second."""
        return in_channels * (2 if self.learn_sigma else 1)

    def times(self, num_steps: int, spacing: str = "uniform") -> list[float]:
        """num_steps of the trained steps, or times between them, and then 0; see `diffusion/steps.py`."""
        from dit_toolkit.diffusion.steps import spaced

        return spaced(self.schedule, num_steps, spacing)

    def network_time(self, t: Tensor) -> Tensor:
        """T t - 1: the index of the trained step, fractional between steps."""
        return t * self.num_timesteps - 1

    def predict(self, output: Tensor, x: Tensor, t: Tensor | float) -> Prediction:
        """Split noise and variance, and solve for the data."""
        from dit_toolkit.diffusion.denoiser import Prediction

        alpha, sigma, alpha_prime, sigma_prime = (
            self._factor(f, t, x) for f in ("alpha", "sigma", "alpha_prime", "sigma_prime")
        )
        fraction = None
        if self.learn_sigma:
            output, variance = output.chunk(2, dim=1)  # 2 x (N, C, H, W)
            fraction = (variance + 1) / 2
        eps = output.to(x.dtype)
        x0 = (x - sigma * eps) / alpha
        return Prediction(x0, eps, alpha_prime * x0 + sigma_prime * eps, fraction)

    def _factor(self, name: str, t: Tensor | float, x: Tensor) -> Tensor | float:
        """A schedule function at t, as a number or as (N, 1, 1, 1) like x."""
        function = getattr(self.schedule, name)
        if isinstance(t, (float, int)):
            return float(function(float(t)))
        import torch

        return torch.as_tensor(function(t.double().cpu().numpy())).to(x).view(-1, 1, 1, 1)

    def loss(
        self,
        model: Callable[[Tensor, Tensor, Tensor], Tensor],
        x0: Tensor,
        y: Tensor,
        *,
        noise: Tensor | None = None,
        t: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Mean squared error of the noise, plus the variational bound in bits where the variance is learnt; (N,)."""
        import torch

        from dit_toolkit.diffusion.bound import discretised_nll, normal_kl
        from dit_toolkit.random import rand_for, randn_like

        if t is None:
            step = (rand_for(x0, generator) * self.num_timesteps).long()  # (N,)
        else:
            step = (t.double() * self.num_timesteps - 1).round().long()
        if noise is None:
            noise = randn_like(x0, generator)
        rows = torch.as_tensor(self._tables).to(x0)[:, step, None, None, None]  # (6, N, 1, 1, 1)
        alpha, sigma, x0_factor, x_factor, lower, upper = rows  # (N, 1, 1, 1) each
        x = alpha * x0 + sigma * noise  # (N, C, H, W)
        output = model(x, step.float(), y)  # (N, C_out, H, W)
        if not self.learn_sigma:
            return (output - noise).square().flatten(1).mean(1)

        eps, variance = output.chunk(2, dim=1)  # 2 x (N, C, H, W)
        predicted = (x - sigma * eps.detach()) / alpha  # (N, C, H, W)
        mean, logvar = x0_factor * predicted + x_factor * x, torch.lerp(lower, upper, (variance + 1) / 2)
        true_mean = x0_factor * x0 + x_factor * x
        bits = torch.where(
            step[:, None, None, None] == 0,
            discretised_nll(x0, mean, logvar),
            normal_kl(true_mean, lower, mean, logvar),
        )  # (N, C, H, W)
        return ((eps - noise).square() + bits).flatten(1).mean(1)

    @cached_property
    def _tables(self) -> np.ndarray:
        """(6, T): alpha, sigma; of the posterior x0 factor, x factor, log beta-tilde (the first clipped), log beta."""
        from dit_toolkit.diffusion.schedule import posterior

        t = np.arange(1, self.num_timesteps + 1) / self.num_timesteps
        q = posterior(self.schedule, t, t - 1 / self.num_timesteps)
        variance = np.asarray(q.variance)[[1, *range(1, self.num_timesteps)]]
        return np.stack(
            [
                self.schedule.alpha(t),
                self.schedule.sigma(t),
                q.x0_factor,
                q.x_factor,
                np.log(variance),
                np.log(self.betas),
            ]
        )
