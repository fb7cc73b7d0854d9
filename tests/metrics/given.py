"""Sets of images that have nothing but features, and the extractor that would have seen them."""

import numpy as np
from attrs import frozen

from dit_toolkit.components import Extractor, RealImages
from dit_toolkit.imageset import ImageSet, Stored


@frozen
class Given(Extractor):
    kind = "given"
    called: str = "given"

    @property
    def name(self):
        return self.called

    def fingerprint(self):
        return "as given"

    def load(self, device="cpu"):
        raise AssertionError("everything is stored")


class Inception(Given):
    kind = "inception"


def make_set(name="samples", extractor=Given, **outputs):
    """A set with these outputs (N, D)."""
    stored = {
        (extractor.kind, output): Stored("as given", values=np.asarray(values, np.float32))
        for output, values in outputs.items()
    }
    return ImageSet(None, stored=stored, name=name)


def pair(x, y):
    """Samples with features x, and the reference with y."""
    return make_set(features=x), RealImages(make_set("reference", features=y))


def normal(count, size, *, shift=0.0, scale=1.0, seed=0):
    """Correlated normal features (count, size) float32, of one distribution but for shift and scale."""
    mixing = np.random.default_rng(99).standard_normal((size, size)) / size**0.5
    drawn = np.random.default_rng(seed).standard_normal((count, size))
    return (scale * drawn @ mixing + 0.4 + shift).astype(np.float32)
