"""Denoising diffusion: a network of T steps, and where the reverse variance lies between its bounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import deep_iterable, ge, gt, le, optional

from dit_toolkit.diffusion import betas, targets, weighting
from dit_toolkit.objectives.regression import Regression, like, moved

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.discrete import DiscreteSchedule


BETAS: Callable[[Any, Any, Any], None] = deep_iterable([gt(0.0), le(0.9999)])


@frozen(kw_only=True)
class DDPM(Regression):
    """Noise prediction (Ho et al. 2020, equation 14) with a learnt variance (Nichol & Dhariwal 2021, section 3.1).

    The network is trained on steps i = 0 .. T-1 and given i; on the toolkit's clock step i is t = (i + 1) / T.
    """

    kind = "ddpm"
    num_timesteps: int = field(default=1000, validator=[ge(2), le(1_000_000)])
    target: Literal["epsilon", "x0", "v"] = "epsilon"
    """What the network returns: noise, data, or alpha eps - sigma x0 (Salimans & Ho 2022)."""
    beta_schedule: Literal["linear", "scaled-linear", "sigmoid", "squared-cosine"] = "linear"
    beta_start: float | None = field(default=None)
    """First beta, but of the squared cosine; 1e-4 x 1000 / num_timesteps unless given."""
    beta_end: float | None = field(default=None)
    """Last beta, but of the squared cosine; 0.02 x 1000 / num_timesteps unless given."""
    trained_betas: tuple[float, ...] | None = field(default=None, validator=optional(BETAS))
    """The betas themselves, num_timesteps of them, in place of a schedule."""
    zero_terminal_snr: bool = False
    """Rescale the betas so that the last step is noise alone (Lin et al. 2023, algorithm 1); not with epsilon."""
    learn_sigma: bool = True
    """Learn the variance of reverse steps too, in channels of its own, by the variational bound."""
    weighting: Literal["uniform", "min-snr", "p2"] = "uniform"
    """Of the target's squared error over t: 1, or by SNR (Hang et al. 2023; Choi et al. 2022)."""
    min_snr_gamma: float = field(default=5.0, validator=[gt(0), le(1e6)])
    p2_gamma: float = field(default=1.0, validator=[ge(0), le(100)])
    p2_k: float = field(default=1.0, validator=[gt(0), le(1e6)])
    shift: float = field(default=1.0, validator=[gt(0), le(100)])
    """Factor of sigma / alpha at the steps drawn in training: more noise above 1 (Esser et al. 2024, equation 23)."""

    @beta_start.validator
    @beta_end.validator
    def _beta(self, attribute: object, value: float | None) -> None:
        if value is not None and not 0 < value < 1:
            raise ValueError(f"'{attribute.name}' must be between 0 and 1: {value}")  # type: ignore[attr-defined]

    def __attrs_post_init__(self) -> None:
        if self.trained_betas is not None and len(self.trained_betas) != self.num_timesteps:
            raise ValueError(
                f"trained_betas has {len(self.trained_betas)} numbers, num_timesteps is {self.num_timesteps}"
            )
        scaled = self.beta_schedule in betas.SCALED and self.trained_betas is None
        for name in ("beta_start", "beta_end"):
            if getattr(self, name) is not None and not scaled:
                raise ValueError(f"{name} is set, but the betas do not run from a start to an end")
        if scaled and not 0 < self._range[0] <= self._range[1] < 1:
            raise ValueError(
                f"num_timesteps ({self.num_timesteps}) gives betas from {self._range[0]:g} to {self._range[1]:g}; "
                "they must rise and lie between 0 and 1"
            )
        if self.zero_terminal_snr and self.target == "epsilon":
            raise ValueError(
                "zero_terminal_snr needs target 'v' or 'x0': the last step is noise alone, from which 'epsilon' would "
                "give the data by dividing by 0"
            )

    @property
    def _range(self) -> tuple[float, float]:
        scale = 1000 / self.num_timesteps
        start = 1e-4 * scale if self.beta_start is None else self.beta_start
        return start, 0.02 * scale if self.beta_end is None else self.beta_end

    @cached_property
    def betas(self) -> np.ndarray:
        """(T,) float64."""
        if self.trained_betas is not None:
            found = np.array(self.trained_betas)
        elif self.beta_schedule == "squared-cosine":
            found = betas.squared_cosine(self.num_timesteps)
        else:
            found = betas.SCALED[self.beta_schedule](self.num_timesteps, *self._range)
        return betas.rescale_to_zero_snr(found) if self.zero_terminal_snr else found

    @cached_property
    def schedule(self) -> DiscreteSchedule:
        """The schedule of the trained steps."""
        from dit_toolkit.diffusion.discrete import DiscreteSchedule, ZeroTerminalSchedule

        alphas_bar = np.cumprod(1 - self.betas)
        return (ZeroTerminalSchedule if self.zero_terminal_snr else DiscreteSchedule)(alphas_bar)

    @property
    def network_target(self) -> targets.Target:
        """By its name."""
        return {"epsilon": targets.epsilon, "x0": targets.x0, "v": targets.v}[self.target]

    def out_channels(self, in_channels: int) -> int:
        """Twice the input with a learnt variance: target first, variance second."""
        return in_channels * (2 if self.learn_sigma else 1)

    def times(self, num_steps: int, spacing: str = "uniform") -> list[float]:
        """num_steps of the trained steps, or times between them, and then 0; see `diffusion/steps.py`."""
        from dit_toolkit.diffusion.steps import spaced

        return spaced(self.schedule, num_steps, spacing)

    def drawn(self, u: Tensor) -> Tensor:
        """Every trained step alike, or the steps nearest to where `shift` moves these."""
        t = self.time_of_step((u * self.num_timesteps).long())  # (N,)
        return t if self.shift == 1 else self.snapped(moved(self.schedule, t, self.shift))

    def time_of_step(self, step: Tensor) -> Tensor:
        """(step + 1) / T, float64: the times (N,) of trained steps (N,) 0 .. T-1, for `loss(t=...)`."""
        return (step.double() + 1) / self.num_timesteps

    def snapped(self, t: Tensor) -> Tensor:
        """To the nearest trained step."""
        return self.time_of_step(self.network_time(t).round().clamp(min=0))

    def network_time(self, t: Tensor) -> Tensor:
        """T t - 1: the index of the trained step, fractional between steps."""
        return t * self.num_timesteps - 1

    def weight(self, t: np.ndarray) -> np.ndarray:
        """By SNR, carried over to the target."""
        if self.weighting == "uniform":
            return np.ones_like(t)
        snr = (self.schedule.alpha(t) / self.schedule.sigma(t)) ** 2
        rule = weighting.min_snr(snr, self.min_snr_gamma)
        if self.weighting == "p2":
            rule = weighting.p2(snr, self.p2_gamma, self.p2_k)
        return weighting.of_target(self.schedule, self.network_target, t, rule)

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Target and variance, the second as its fraction f = (v + 1) / 2."""
        if not self.learn_sigma:
            return output, None
        output, variance = output.chunk(2, dim=1)  # 2 x (N, C, H, W)
        return output, (variance + 1) / 2

    def error(self, output: Tensor, x: Tensor, x0: Tensor, noise: Tensor, t: np.ndarray) -> Tensor:
        """Weighted squared error (N,), plus the variational bound in bits where the variance is learnt."""
        from dit_toolkit.diffusion.bound import step_bits

        output, fraction = self.split(output)  # (N, C, H, W) each
        error = super().error(output, x, x0, noise, t)  # (N,)
        if fraction is None:
            return error
        p, q = like(x, *targets.solve(self.schedule, self.network_target, t)[:2])  # (N, 1, 1, 1) each
        predicted = p * x + q * output.detach()  # (N, C, H, W)
        return error + step_bits(self.schedule, t, x, x0, predicted, fraction).flatten(1).mean(1)
