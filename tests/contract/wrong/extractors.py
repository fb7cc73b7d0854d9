import numpy as np
from attrs import frozen

from dit_toolkit.components import Extractor
from tests.contract.wrong import wrong


@frozen(kw_only=True)
class Rows(Extractor):
    """The mean of every row of pixels: quick, and right."""

    kind = "rows"

    def fingerprint(self):
        return "rows"

    def load(self, device="cpu"):
        return lambda images: {"features": self.see(images)}

    def see(self, images):
        return images.mean((2, 3)).astype(np.float32)


@wrong("fingerprint")
class Unsteady(Rows):
    kind = "unsteady"

    def fingerprint(self):
        return str(np.random.default_rng().random())


@wrong("outputs")
class Double(Rows):
    kind = "double"

    def see(self, images):
        return Rows.see(self, images).astype(np.float64)


@wrong("deterministic")
class Random(Rows):
    kind = "random"

    def see(self, images):
        return Rows.see(self, images) * np.float32(1 + 3e-5 * np.random.default_rng().random())


@wrong("images_are_seen_one_by_one")
class Relative(Rows):
    """Sees images relative to their mean."""

    kind = "relative"

    def see(self, images):
        rows = Rows.see(self, images)
        return rows - rows.mean(0)


@wrong("input_is_kept")
class InPlace(Rows):
    kind = "in-place"

    def see(self, images):
        rows = Rows.see(self, images)
        images[0, 0, 0] ^= 1
        images[0, 0, 0] ^= 3
        return rows


@wrong("images_are_told_apart")
class Blind(Rows):
    kind = "blind"

    def see(self, images):
        return np.ones((len(images), 3), np.float32)
