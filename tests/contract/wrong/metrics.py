import numpy as np

from dit_toolkit.metrics.fd_fashion import FDFashion
from dit_toolkit.metrics.memorisation import Memorisation
from tests.contract.wrong import wrong


class Brightness(FDFashion):
    """The mean's distance to that of the held-out images: quick, and right."""

    def compute(self, images, labels, real):
        return abs(float(images.mean()) - float(real.heldout.mean()))


@wrong("declarations")
class Floorless(Brightness):
    kind = "brightness"
    floor = "noise"
    higher_is_better = False


@wrong("value_is_a_number")
class Numpy(Brightness):
    kind = "brightness"

    def compute(self, images, labels, real):
        return np.float64(Brightness.compute(self, images, labels, real))


@wrong("deterministic")
class Random(Brightness):
    kind = "brightness"
    symmetric = False

    def compute(self, images, labels, real):
        value = Brightness.compute(self, images, labels, real)
        return value * (1 + 1e-7 * float(np.random.default_rng().random()))


@wrong("order_does_not_matter")
class FirstImages(Brightness):
    """Looks at the first half only."""

    kind = "brightness"
    zero_on = None
    symmetric = False

    def compute(self, images, labels, real):
        return Brightness.compute(self, images[: len(images) // 2], labels, real)


@wrong("input_is_kept")
class InPlace(Brightness):
    kind = "brightness"

    def compute(self, images, labels, real):
        value = Brightness.compute(self, images, labels, real)
        if len(images) == 100 and images.flags.owndata:
            images[0, 0, 0] ^= 1
        return value


@wrong("noise_is_worse")
class UpsideDown(Brightness):
    kind = "brightness"
    higher_is_better = True


@wrong("zero")
class Offset(Brightness):
    kind = "brightness"

    def compute(self, images, labels, real):
        return 1 + Brightness.compute(self, images, labels, real)


@wrong("symmetric")
class OneSided(Memorisation):
    symmetric = True
