"""What the built-in objectives share: one network output, regressed on a combination of data and noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from dit_toolkit.components import Objective
from dit_toolkit.diffusion import targets

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Prediction
    from dit_toolkit.diffusion.schedule import Schedule
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Regression(Objective):
    """The weighted squared error of a(t) x0 + b(t) eps at points x = alpha x0 + sigma eps of a Gaussian path."""

    low_discrepancy: bool = False
    """Spread the times of a batch evenly, with one random offset, instead of drawing each by itself (Kingma et al.
    2021, appendix I.1); a function of seed and sample index all the same."""

    @property
    @abstractmethod
    def network_target(self) -> targets.Target:
        """What the network returns."""

    @abstractmethod
    def drawn(self, u: Tensor) -> Tensor:
        """Times (N,) of training from uniform numbers (N,) in [0, 1), float64 on the CPU."""

    def weight(self, t: np.ndarray) -> np.ndarray:
        """Weight (N,) of the target's squared error at t (N,)."""
        return np.ones_like(t)

    def out_channels(self, in_channels: int) -> int:
        """As many as the input has."""
        return in_channels

    def predict(self, output: Tensor, x: Tensor, t: Tensor | float) -> Prediction:
        """Solve target and x for data and noise; t in (0, 1]."""
        from dit_toolkit.diffusion.denoiser import Prediction

        output, fraction = self.split(output)
        output = output.to(x.dtype)
        if isinstance(t, (float, int)):
            a, b, c, d, e, f = targets.solved(self.schedule, self.network_target, float(t))
            x0, eps, velocity = ((x * p).add_(output, alpha=q) for p, q in ((a, b), (c, d), (e, f)))
        else:
            rows = like(x, *targets.solve(self.schedule, self.network_target, t.double().cpu().numpy()))
            x0, eps, velocity = (rows[i] * x + rows[i + 1] * output for i in (0, 2, 4))
        return Prediction(x0, eps, velocity, fraction)

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw output as the target, and the fraction of a learnt variance where there is one."""
        return output, None

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
        """Per-sample loss (N,); see docs/objectives.md for the batch that reproduces a step of another system.

        Raises:
            ValueError: t is not on the clock: whole numbers, or outside [0, 1].
        """
        import torch

        from dit_toolkit.random import rand_for, randn_like

        if t is None:
            time = self.drawn(rand_for(x0, generator, spread=self.low_discrepancy))  # (N,)
        else:
            time = self.snapped(on_clock(t))  # (N,)
        if noise is None:
            noise = randn_like(x0, generator)
        at = time.numpy()
        alpha, sigma = like(x0, self.schedule.alpha(at), self.schedule.sigma(at))  # (N, 1, 1, 1) each
        x = alpha * x0 + sigma * noise  # (N, C, H, W)
        output = model(self.network_input(x, time), self.network_time(time).to(x0.device, torch.float32), y)
        return self.error(output, x, x0, noise, at)

    def snapped(self, t: Tensor) -> Tensor:
        """Move given times (N,) to those that can be trained."""
        return t

    def error(self, output: Tensor, x: Tensor, x0: Tensor, noise: Tensor, t: np.ndarray) -> Tensor:  # noqa: ARG002
        """Weighted mean squared error (N,) of raw output (N, C_out, H, W) at t (N,)."""
        a, b, weight = like(x0, *self.network_target(self.schedule, t), self.weight(t))  # (N, 1, 1, 1) each
        target = a * x0 + b * noise  # (N, C, H, W)
        return (weight * (output - target).square()).flatten(1).mean(1)


def like(x: Tensor, *values: np.ndarray) -> Tensor:
    """Numbers (n of (N,)) of type and device of x (N, C, H, W) that multiply its samples, (n, N, 1, 1, 1)."""
    import torch

    return torch.as_tensor(np.stack(values)).to(x.dtype).to(x.device)[..., None, None, None]


def moved(schedule: Schedule, t: Tensor, shift: float) -> Tensor:
    """Times (N,) at which sigma / alpha is `shift` times that at t (N,), float64 on the CPU."""
    import torch

    from dit_toolkit.diffusion.steps import shift_inside

    return t if shift == 1 else torch.from_numpy(shift_inside(schedule, t.numpy(), shift))


def on_clock(t: Tensor) -> Tensor:
    """Times (N,) as float64 on the CPU; ValueError for whole numbers and for what is outside [0, 1]."""
    if not t.is_floating_point():
        raise ValueError(f"t has type {t.dtype}: it is a time on the clock, 0 to 1; see DDPM.time_of_step for steps")
    t = t.detach().double().cpu()
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"t must be from 0 to 1 (data to noise), got {t.min():g} to {t.max():g}")
    return t
