import math

import numpy as np
from attrs import frozen

from dit_toolkit.components import Metric
from dit_toolkit.metrics.memorisation import Memorisation
from tests.contract.wrong import wrong


@frozen(kw_only=True)
class Brightness(Metric):
    """The mean's distance to that of the held-out images: quick, and right."""

    kind = "brightness"
    higher_is_better = False
    floor = "train"
    zero_on = "reference"
    symmetric = True

    def compute(self, samples, real):
        means = [
            images.each("mean", lambda block: block.mean((1, 2, 3))).mean() for images in (samples, real.reference)
        ]
        return abs(float(means[0] - means[1]))


@wrong("declarations")
class Floorless(Brightness):
    kind = "brightness"
    floor = "noise"
    higher_is_better = False


@wrong("value_is_a_number")
class Numpy(Brightness):
    kind = "brightness"

    def compute(self, samples, real):
        return np.float64(Brightness.compute(self, samples, real))


@wrong("error_is_a_number")
class Certain(Brightness):
    kind = "brightness"

    def error(self, samples, real):
        return math.nan


@wrong("deterministic")
class Random(Brightness):
    kind = "brightness"
    symmetric = False

    def compute(self, samples, real):
        value = Brightness.compute(self, samples, real)
        return value * (1 + 1e-7 * float(np.random.default_rng().random()))


@wrong("order_does_not_matter")
class FirstImages(Brightness):
    """Looks at the first half only."""

    kind = "brightness"
    zero_on = None
    symmetric = False

    def compute(self, samples, real):
        return Brightness.compute(self, samples.take(np.arange(len(samples) // 2)), real)


@wrong("input_is_kept")
class InPlace(Brightness):
    kind = "brightness"

    def compute(self, samples, real):
        value = Brightness.compute(self, samples, real)
        if len(samples) == 100:
            samples.images[0, 0, 0] ^= 1
        return value


@wrong("noise_is_worse")
class UpsideDown(Brightness):
    kind = "brightness"
    higher_is_better = True


@wrong("zero")
class Offset(Brightness):
    kind = "brightness"

    def compute(self, samples, real):
        return 1 + Brightness.compute(self, samples, real)


@wrong("symmetric")
class OneSided(Memorisation):
    symmetric = True
