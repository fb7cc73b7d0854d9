from itertools import pairwise

import torch

from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.heun import Heun
from tests.contract.wrong import wrong


@wrong("converges")
class WrongSign(Euler):
    def sample(self, denoiser, noise, *, generator=None):
        x = noise
        for t, s in pairwise(denoiser.times(self.num_steps)):
            x = x + (t - s) * denoiser(x, t).velocity
        return x


@wrong("converges")
class StopsEarly(Euler):
    """Never takes the last step."""

    def sample(self, denoiser, noise, *, generator=None):
        x = noise
        for t, s in pairwise(denoiser.times(self.num_steps)):
            velocity = denoiser(x, t).velocity
            x = x if s == 0 and self.num_steps > 10 else x + 0.8 * (s - t) * velocity
        return x


@wrong("converges")
class Boasting(Euler):
    order = 2


@wrong("converges")
class NoisyEnd(Euler):
    """Adds noise after the last step."""

    def sample(self, denoiser, noise, *, generator=None):
        x = Euler.sample(self, denoiser, noise)
        return x + 0.1 * (torch.zeros_like(x) if generator is None else generator.randn_like(x))


@wrong("deterministic")
class TorchNoise(Euler):
    """Draws a little noise from torch's state."""

    def sample(self, denoiser, noise, *, generator=None):
        return Euler.sample(self, denoiser, noise + 1e-3 * torch.randn_like(noise))


@wrong("deterministic")
class BatchNoise(Euler):
    """Normalises over the batch."""

    def sample(self, denoiser, noise, *, generator=None):
        return Euler.sample(self, denoiser, noise - 0.01 * noise.mean(0))


@wrong("input_is_kept")
class InPlace(Euler):
    def sample(self, denoiser, noise, *, generator=None):
        x = Euler.sample(self, denoiser, noise)
        noise += 1e-6
        return x


@wrong("calls")
class Undeclared(Heun):
    calls_per_step = 1


@wrong("calls")
class Skipping(Euler):
    """Leaves the second step out where there are few."""

    def sample(self, denoiser, noise, *, generator=None):
        x, times = noise, denoiser.times(self.num_steps)
        if self.num_steps == 6:
            times = [times[0], *times[2:]]
        for t, s in pairwise(times):
            x = x + (s - t) * denoiser(x, t).velocity
        return x


@wrong("type_and_device_are_kept")
class AlwaysDouble(Euler):
    def sample(self, denoiser, noise, *, generator=None):
        return Euler.sample(self, denoiser, noise.double())


@wrong("type_and_device_are_kept")
class AsksAtZero(Heun):
    """Corrects the last step too, where sigma is 0."""

    def sample(self, denoiser, noise, *, generator=None):
        x = Heun.sample(self, denoiser, noise)
        return x + 0 * denoiser(x, 0.0).velocity if noise.shape[1] == 3 else x
