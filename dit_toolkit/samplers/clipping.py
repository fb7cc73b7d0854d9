"""What samplers that can hold predicted data within its range share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import ge, gt, le, optional

from dit_toolkit.samplers.stepped import Stepped

if TYPE_CHECKING:
    from dit_toolkit.diffusion.denoiser import Denoiser

LIMIT: list[Any] = [gt(0), le(1e6)]
RATIO: list[Any] = [gt(0), le(1)]


@frozen(kw_only=True)
class Clipping(Stepped):
    """A stepped sampler with options for the range of predicted data; noise and velocity follow what is clipped."""

    clip_x0: float | None = field(default=None, validator=optional(LIMIT))
    """Clip predicted data to [-clip_x0, clip_x0]; 1.0 suits pixels, nothing suits latents."""
    threshold: float | None = field(default=None, validator=optional(RATIO))
    """Dynamic thresholding instead: clip at this quantile of each image, 0.995 say, where that is above 1, and divide
    by it (Saharia et al. 2022); for pixels under strong guidance."""
    threshold_max: float = field(default=1.0, validator=[ge(1), le(1e6)])
    """The most that the quantile is taken for: at 1.0 thresholding is clipping to [-1, 1]."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.clip_x0 is not None and self.threshold is not None:
            raise ValueError(f"clip_x0 ({self.clip_x0:g}) and threshold ({self.threshold:g}) exclude each other")

    def clipped(self, denoiser: Denoiser, *, keep_eps: bool = False) -> Denoiser:
        """The denoiser with its data held in range; itself where no option asks for it."""
        if self.clip_x0 is None and self.threshold is None:
            return denoiser
        from dit_toolkit.diffusion.clipping import Clipped

        return Clipped(denoiser, self.clip_x0, self.threshold, self.threshold_max, keep_eps)
