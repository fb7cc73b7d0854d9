"""Flow matching: learn the velocity of the straight line from data to noise, directly or through the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import gt, le

from dit_toolkit.components import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Prediction
    from dit_toolkit.diffusion.schedule import LinearSchedule
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class FlowMatching(Objective):
    """Velocity matching on x_t = (1 - t) x0 + t eps (Lipman et al. 2023; Ma et al. 2024, "SiT", section 2).

    The network is trained on t in (0, 1) and is given 1000 t, so that the timestep embedding resolves it.
    """

    kind = "flow-matching"
    target: Literal["velocity", "x0"] = "velocity"
    """What the network returns; the loss is the velocity's either way. For pixels x0 learns faster (Li & He 2025)."""
    time_sampling: Literal["uniform", "logit-normal"] = "uniform"
    """How t is drawn in training: evenly, or as the logistic of a standard normal (Esser et al. 2024, section 3.1)."""
    shift: float = field(default=1.0, validator=[gt(0), le(100)])
    """Moves drawn and sampled times to more noise where above 1: s t / (1 + (s - 1) t) (Esser et al. 2024, eq. 23)."""

    @cached_property
    def schedule(self) -> LinearSchedule:
        """alpha = 1 - t, sigma = t."""
        from dit_toolkit.diffusion.schedule import LinearSchedule

        return LinearSchedule()

    def out_channels(self, in_channels: int) -> int:
        """As many as the input has."""
        return in_channels

    def times(self, num_steps: int, spacing: str = "uniform") -> list[float]:
        """num_steps + 1 times from 1 to 0, even ones unless another spacing is given, shifted."""
        from dit_toolkit.diffusion.steps import shifted, spaced

        return shifted(self.schedule, spaced(self.schedule, num_steps, spacing), self.shift)

    def network_time(self, t: Tensor) -> Tensor:
        """1000 t."""
        return 1000 * t

    def predict(self, output: Tensor, x: Tensor, t: Tensor | float) -> Prediction:
        """x0 = x - t v and eps = x + (1 - t) v."""
        import torch

        from dit_toolkit.diffusion.denoiser import Prediction

        time = torch.as_tensor(t).to(x).view(-1, 1, 1, 1)  # (N or 1, 1, 1, 1)
        velocity = self._velocity(output.to(x.dtype), x, time)
        return Prediction(x - time * velocity, x + (1 - time) * velocity, velocity)

    def _velocity(self, output: Tensor, x: Tensor, time: Tensor) -> Tensor:
        """(x - x0) / t for a network that returns x0; near the data, t is held at 0.05 so that it stays bounded."""
        return output if self.target == "velocity" else (x - output) / time.clamp(min=0.05)

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
        """Mean squared error of the velocity eps - x0; (N,)."""
        import torch

        from dit_toolkit.random import rand_for, randn_like

        if t is None:
            u = rand_for(x0, generator)  # (N,)
            if self.time_sampling == "logit-normal":
                u = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12)).sigmoid()
            t = self.shift * u / (1 + (self.shift - 1) * u)
        if noise is None:
            noise = randn_like(x0, generator)
        time = t.to(x0).view(-1, 1, 1, 1)  # (N, 1, 1, 1)
        x = torch.lerp(x0, noise, time)  # (N, C, H, W)
        output = model(x, self.network_time(t), y)  # (N, C, H, W)
        target = self._velocity(x0, x, time) if self.target == "x0" else noise - x0
        return (self._velocity(output, x, time) - target).square().flatten(1).mean(1)
