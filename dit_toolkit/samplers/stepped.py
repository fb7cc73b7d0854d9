"""What samplers that walk a step list share: the options that choose the list."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, le

from dit_toolkit.components import Objective, Sampler

if TYPE_CHECKING:
    from dit_toolkit.diffusion.denoiser import Denoiser


@frozen(kw_only=True)
class Stepped(Sampler):
    """A sampler that visits the times of a list, from noise to data; see `diffusion/steps.py` for the formulas."""

    num_steps: int = field(default=50, validator=[ge(1), le(1_000_000)])
    spacing: Literal["uniform", "leading", "trailing", "quadratic", "karras", "log-snr"] | None = None
    """How the steps lie; as the objective has them unless given: karras for `edm`, uniform for the others."""
    rho: float = field(default=7.0, validator=[gt(0), le(1000)])
    """Exponent of the spacing "karras": larger ones put more steps near the data (Karras et al. 2022, equation 5)."""
    shift: float = field(default=1.0, validator=[gt(0), le(1000)])
    """Factor of sigma / alpha at every time but the first and last: more noise above 1 (Esser et al. 2024, eq. 23)."""
    timesteps: tuple[float, ...] | str | None = field(default=None)
    """In place of num_steps and spacing: falling trained steps (`ddpm`) or times, or counts such as "10,15,20" of steps
    in equal sections of the clock, the data's first."""

    @timesteps.validator
    def _timesteps(self, _: object, given: tuple[float, ...] | str | None) -> None:
        if isinstance(given, str):
            if not re.fullmatch(r"0*[1-9]\d{0,6}(,0*[1-9]\d{0,6})*", given):
                raise ValueError(f"'timesteps' must be counts of at least 1, as '10,15,20': {given[:50]!r}")
        elif given is not None and (not given or any(t <= s for t, s in pairwise(given))):
            raise ValueError(f"'timesteps' must be at least one, and fall: {list(given[:10])}")

    def __attrs_post_init__(self) -> None:
        if self.rho != 7 and self.spacing != "karras":
            raise ValueError(f"rho ({self.rho:g}) belongs to spacing 'karras'")
        if self.timesteps is not None and self.spacing is not None:
            raise ValueError(f"spacing {self.spacing!r} has no meaning beside timesteps, which name every step")

    @property
    def calls(self) -> int:
        """Most calls of the denoiser: `calls_per_step` for each step of the list."""
        if isinstance(self.timesteps, str):
            return self.calls_per_step * sum(map(int, self.timesteps.split(",")))
        return self.calls_per_step * (self.num_steps if self.timesteps is None else len(self.timesteps))

    def times(self, source: Denoiser | Objective) -> list[float]:
        """The falling times to visit, the last of them 0.

        Raises:
            ValueError: the objective has no such steps; the message names the option.
        """
        from dit_toolkit.diffusion import steps

        if self.timesteps is not None:
            times = steps.chosen(source.schedule, self.timesteps)
        elif self.spacing is None:
            times = source.times(self.num_steps)
        else:
            times = steps.spaced(source.schedule, self.num_steps, self.spacing, self.rho)
        return steps.shifted(source.schedule, times, self.shift)

    def check(self, objective: Objective) -> None:
        """Refuse a step list that the objective does not have."""
        self.times(objective)
