import numpy as np
import torch

from dit_toolkit.diffusion.paths import LinearSchedule
from dit_toolkit.objectives.flow_matching import FlowMatching
from tests.contract.wrong import wrong


class NeverClean(LinearSchedule):
    """Has noise left at t = 0; consistent in everything else."""

    def sigma(self, t):
        return 0.1 + 0.9 * t

    def sigma_prime(self, t):
        return 0.9 + 0 * t


class WrongSlope(LinearSchedule):
    """Its alpha has another slope for arrays than for numbers."""

    def alpha(self, t):
        return 1 - np.where(np.ndim(t) > 0, 0.9 * np.asarray(t), t)


class Path(FlowMatching):
    """Flow matching on another straight line, with the loss written from the schedule."""

    line = LinearSchedule()

    @property
    def schedule(self):
        return self.line

    def predict(self, output, x, t):
        from dit_toolkit.diffusion.denoiser import Prediction

        t = torch.as_tensor(t).to(x).view(-1, 1, 1, 1)
        s = self.line
        alpha, sigma, da, ds = s.alpha(t), s.sigma(t), s.alpha_prime(t), s.sigma_prime(t)
        x0 = (ds * x - sigma * output) / (alpha * ds - sigma * da)
        return Prediction(x0, (x - alpha * x0) / sigma, output)

    def loss(self, model, x0, y, *, noise=None, t=None, generator=None):
        t = generator.rand() if t is None else t
        noise = generator.randn_like(x0) if noise is None else noise
        time, s = t.to(x0).view(-1, 1, 1, 1), self.line
        output = model(s.alpha(time) * x0 + s.sigma(time) * noise, self.network_time(t), y)
        return (output - s.alpha_prime(time) * x0 - s.sigma_prime(time) * noise).square().flatten(1).mean(1)


@wrong("schedule_ends")
class Unclean(Path):
    line = NeverClean()


@wrong("schedule_slopes")
class Slope(FlowMatching):
    """Right in all but what it shows of its schedule."""

    @property
    def schedule(self):
        return WrongSlope()

    def predict(self, output, x, t):
        return FlowMatching().predict(output, x, t)

    def loss(self, model, x0, y, **given):
        return FlowMatching().loss(model, x0, y, **given)


@wrong("times")
class OneTooFew(FlowMatching):
    def times(self, num_steps, spacing="uniform"):
        return FlowMatching.times(self, num_steps, spacing)[1:]


@wrong("times")
class AnySpacing(FlowMatching):
    def times(self, num_steps, spacing="uniform"):
        return FlowMatching.times(self, num_steps)


@wrong("network_time")
class Folded(FlowMatching):
    """Tells noise from data no more."""

    def network_time(self, t):
        return 1000 * (t - 0.5).abs()


@wrong("predictions_agree")
class NoiseForData(FlowMatching):
    """Has x0 right but eps = x - t v."""

    def predict(self, output, x, t):
        from attrs import evolve

        prediction = FlowMatching.predict(self, output, x, t)
        return evolve(prediction, eps=prediction.x0)


@wrong("loss_is_per_sample")
class MeanLoss(FlowMatching):
    def loss(self, model, x0, y, **given):
        loss = FlowMatching.loss(self, model, x0, y, **given)
        return loss if len(loss) < 5 else loss.mean()


@wrong("loss_is_deterministic")
class TorchNoise(FlowMatching):
    """Draws the noise from torch's state."""

    def loss(self, model, x0, y, *, noise=None, t=None, generator=None):
        noise = torch.randn_like(x0) if noise is None else noise
        return FlowMatching.loss(self, model, x0, y, noise=noise, t=t, generator=generator)


@wrong("truth_has_the_least_loss")
class WrongSign(FlowMatching):
    """Learns x0 - eps."""

    def loss(self, model, x0, y, **given):
        return FlowMatching.loss(self, lambda *a: -model(*a), x0, y, **given)
