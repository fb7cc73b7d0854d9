"""Previews: a denoiser that tells what it predicts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dit_toolkit.diffusion.denoiser import Denoiser, Prediction

Callback = Callable[[int, int | None, Tensor], object]
"""callback(i, n, x0) after call i = 1, 2, ... of at most n (None: not known before) with the data (N, C, H, W) that is
predicted now."""


class Observed:
    """A denoiser whose every call is shown to a callback; its errors are not caught."""

    def __init__(self, denoiser: Denoiser, calls: int | None, callback: Callback) -> None:
        self.denoiser, self.calls, self.callback = denoiser, calls, callback
        self.schedule, self.times = denoiser.schedule, denoiser.times
        self.done = 0

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t."""
        prediction = self.denoiser(x, t)
        self.done += 1
        self.callback(self.done, self.calls, prediction.x0)
        return prediction
