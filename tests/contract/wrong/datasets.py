import numpy as np

from dit_toolkit.datasets.fashion import Fashion, FashionSplit
from tests.contract.wrong import wrong


class Around(FashionSplit):
    """A right split, its batches changed."""

    def __init__(self, split, change):
        super().__init__(split.images, split.labels, flip=False)
        self.change = change

    def batch(self, indices, generator=None):
        return self.change(*super().batch(indices, generator), indices)


@wrong("shapes")
class Upright(Fashion):
    @property
    def shape(self):
        return self.image_size, self.image_size, 1


@wrong("range")
class Dark(Fashion):
    """Has values in [0, 1/255]."""

    def open(self, split):
        return Around(Fashion.open(self, split), lambda x, y, _: ((x + 1) / 510, y))


@wrong("labels")
class FromOne(Fashion):
    """Counts classes from 1."""

    def open(self, split):
        found = Fashion.open(self, split)
        found.labels = found.labels + 1
        return found


@wrong("labels")
class OtherOrder(Fashion):
    def open(self, split):
        return Around(Fashion.open(self, split), lambda x, y, _: (x, 9 - y))


@wrong("items_repeat")
class BatchMean(Fashion):
    """Normalises over the batch."""

    def open(self, split):
        return Around(Fashion.open(self, split), lambda x, y, _: ((x - x.mean(0)) / 2, y))


@wrong("resumes")
class Reshuffled(Fashion):
    """Has another order every time it is opened."""

    def open(self, split):
        split, order = (
            Fashion.open(self, split),
            np.random.default_rng().permutation(8_000 if split == "train" else 900),
        )
        split.images, split.labels = split.images[order], split.labels[order]
        return split


@wrong("batches_are_copies")
class Views(Fashion):
    """Hands out its own memory."""

    def open(self, split):
        found, size = Fashion.open(self, split), 64
        whole = FashionSplit.batch(found, np.arange(size))[0]

        def change(x, y, indices):
            return (whole[: len(indices)] if np.array_equal(indices, np.arange(len(indices))) else x), y

        return Around(found, change)
