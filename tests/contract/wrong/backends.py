import math

import torch

from dit_toolkit.backends.single import Single, SingleEngine
from dit_toolkit.engine import Step
from tests.contract.wrong import wrong


class Started(Single):
    """The right backend with another engine."""

    engine = SingleEngine

    def start(self, model, optimizer, *, precision, gradient_clipping, micro_batch_size, accumulation, device):
        return self.engine(model, optimizer, precision == "bf16", gradient_clipping, accumulation)


class IgnoresRate(SingleEngine):
    def step(self, lr, largest_norm=math.inf):
        return super().step(0.05, largest_norm)


class Sums(SingleEngine):
    def backward(self, loss):
        super().backward(loss * self.accumulation)


class NormAfter(SingleEngine):
    def step(self, lr, largest_norm=math.inf):
        step = super().step(lr, largest_norm)
        return Step(min(step.grad_norm, self.clipping), step.applied) if self.clipping else step


class Trusting(SingleEngine):
    """Leaves out what is not finite, but not what is too large."""

    def step(self, lr, largest_norm=math.inf):
        return super().step(lr)


class LowPrecision(SingleEngine):
    def state(self):
        low = self.masters is not self.params
        return {name: value.bfloat16() if low else value for name, value in super().state().items()}


class Remembers(SingleEngine):
    """Gathers the weights as they were after the last step."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = super().state()

    def step(self, lr, largest_norm=math.inf):
        step = super().step(lr, largest_norm)
        self.kept = super().state()
        return step

    def state(self):
        return self.kept


class Stale(SingleEngine):
    def refresh(self):
        pass


class Drops(SingleEngine):
    def infer(self, x, t, y):
        return self.model(x, t, y).detach()


class WeightsOnly(SingleEngine):
    """Shows no state of the optimizer."""

    def shards(self):
        return [shard._replace(optimizer=torch.optim.SGD([shard.tensor])) for shard in super().shards()]


@wrong("step_is_the_plain_step")
class ConstantRate(Started):
    engine = IgnoresRate


@wrong("accumulation_is_the_mean")
class Summing(Started):
    engine = Sums


@wrong("clipping")
class ClippedNorm(Started):
    engine = NormAfter


@wrong("bad_gradients_are_refused")
class TooTrusting(Started):
    engine = Trusting


@wrong("state_is_named")
class Low(Started):
    engine = LowPrecision


@wrong("masters_are_the_weights")
class Remembering(Started):
    engine = Remembers


@wrong("refresh_runs_what_the_masters_hold")
class Forgetful(Started):
    engine = Stale


@wrong("inference_leaves_training")
class Dropping(Started):
    engine = Drops


@wrong("resumes")
class Forgetting(Started):
    engine = WeightsOnly
