"""Which images of two sets lie in balls round images of the other: what precision and its kin are counted from.

A ball reaches from an image to its k-th nearest neighbour in its own set, the image itself not counted, and holds what
lies on its edge. Products in float32 find the candidates; what rounding could decide is computed again in float64, so
that copies have distance 0 and equal distances are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dit_toolkit import stop
from dit_toolkit.components import Extractor
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.extractors.looking import exact
from dit_toolkit.imageset import ImageSet
from dit_toolkit.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

USUAL = (3, 5)
"""The k of the papers, which are looked for together."""
SPARE = 3
"""More neighbours than k that float32 proposes and float64 puts in order."""
ROWS = 2_048
"""Most images of each set whose products are held at once, 16 MB of them."""
BYTES = 1 << 26
"""Most bytes of their features."""


class Balls(NamedTuple):
    """What lies in which balls, for one k."""

    samples: np.ndarray
    """For each sample (N,), balls of the reference that hold it."""
    covered: np.ndarray
    """For each reference image (M,), whether its ball holds a sample."""
    reference: np.ndarray
    """For each reference image (M,), balls of the samples that hold it."""


def balls(samples: ImageSet, reference: ImageSet, extractor: Extractor, k: int) -> Balls:
    """Count for one k, and keep what was found for the usual ones.

    Raises:
        DataError: a set has no k-th neighbour, or as `ImageSet.seen`.
        Interrupted: something asked to stop.
    """
    sets = (samples, reference)
    for images in sets:
        if len(images) <= k:
            raise DataError(
                f"{images.name}: {len(images)} images have no {k} nearest neighbours; {k + 1} are the least"
            )
    ks = tuple(usual for usual in USUAL if usual < min(map(len, sets))) if k in USUAL else (k,)
    key = ("balls", reference, extractor.fingerprint(), ks)
    return samples.fact(key, lambda: _count(*(_Cloud.of(images, extractor, ks) for images in sets)))[ks.index(k)]


class _Cloud(NamedTuple):
    """Features of a set, with the squares of the radii of its balls."""

    values: np.ndarray
    """(N, D)."""
    squares: np.ndarray
    """(N, K) float64."""
    device: str

    @classmethod
    def of(cls, images: ImageSet, extractor: Extractor, ks: tuple[int, ...]) -> _Cloud:
        values = images.seen(extractor)
        key = ("radii", extractor.fingerprint(), ks)
        return cls(values, images.fact(key, lambda: squared_radii(values, ks, images.device)), images.device)


@exact()
def squared_radii(values: np.ndarray, ks: tuple[int, ...], device: str = "cpu") -> np.ndarray:
    """Squared distances (N, K) of each of values (N, D) to its k-th nearest neighbours, float64."""
    import torch

    count = len(values)
    size = min(max(ks) + SPARE, count - 1)
    score = torch.full((count, size), -torch.inf)
    index = torch.zeros((count, size), dtype=torch.int64)

    def merge(rows: slice, scores: Tensor, first: int) -> None:
        """Keep the best of what there is for these rows and of scores (n, m), whose columns begin at `first`."""
        found, column = scores.topk(min(size, scores.shape[1]), 1)
        both = torch.cat([score[rows], found.cpu()], 1)
        score[rows], place = both.topk(size, 1)
        index[rows] = torch.cat([index[rows], column.cpu() + first], 1).gather(1, place)

    for a, b, scores, _ in _products(values, values, device, "neighbours in a set"):
        if a == b:
            scores.fill_diagonal_(-torch.inf)
        merge(a, scores, b.start)
        if a != b:
            merge(b, scores.T.contiguous(), a.start)
    found = _squares(values, np.arange(count).repeat(size), values, index.numpy().ravel()).reshape(count, size)
    found.sort(1)
    return found[:, [k - 1 for k in ks]]


@exact()
def _count(x: _Cloud, y: _Cloud) -> tuple[Balls, ...]:
    """What lies in which balls, for each k."""
    ks = x.squares.shape[1]
    in_y, in_x = np.zeros((len(x.values), ks), np.int64), np.zeros((len(y.values), ks), np.int64)
    covered = np.zeros((len(y.values), ks), bool)
    for a, b, scores, slack in _products(x.values, y.values, x.device, "neighbours of two sets"):
        i, j, inside = _inside(scores, slack, x.values[a], y.values[b], y.squares[b])
        for n in range(ks):
            in_y[a, n] += np.bincount(i, inside[:, n], a.stop - a.start).astype(np.int64)
            covered[b, n][j[inside[:, n]]] = True
        j, _, inside = _inside(scores.T, slack, y.values[b], x.values[a], x.squares[a])
        for n in range(ks):
            in_x[b, n] += np.bincount(j, inside[:, n], b.stop - b.start).astype(np.int64)
    return tuple(Balls(in_y[:, n], covered[:, n], in_x[:, n]) for n in range(ks))


def _inside(
    scores: Tensor, slack: float, points: np.ndarray, centres: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of points (n, D) and balls (m, D), with whether the point is inside of the ball for each k, (P, K).

    The pairs are those of the largest balls; scores (n, m) are minus half the squared distances, give or take `slack`.
    """
    import torch

    least = torch.from_numpy((-squares.max(1) / 2 - slack).astype(np.float32)).to(scores.device)  # (m,)
    pairs = (scores >= least).nonzero(as_tuple=True)
    found = -2 * scores[pairs].cpu().numpy().astype(np.float64)  # (P,)
    i, j = (index.cpu().numpy() for index in pairs)
    reach = squares[j]  # (P, K)
    close = (np.abs(found[:, None] - reach) <= 2 * slack).any(1)
    found[close] = _squares(points, i[close], centres, j[close])
    return i, j, found[:, None] <= reach


def _products(x: np.ndarray, y: np.ndarray, device: str, what: str) -> Iterator[tuple[slice, slice, Tensor, float]]:
    """Blocks of x (N, D) and y (M, D), minus half their squared distances (n, m) float32, and a bound of its rounding.

    Within one set each pair of blocks comes once. The bound takes D roundings for as many as the root of D in a row.
    """
    import torch

    middle = y[: min(len(y), 4 * ROWS)].mean(0, dtype=np.float64).astype(np.float32)  # distances are shorter from here
    rows = max(1, min(ROWS, BYTES // (4 * x.shape[1])))
    unit = 8 * float(np.finfo(np.float32).eps) * x.shape[1] ** 0.5
    blocks = [[slice(i, min(i + rows, len(z))) for i in range(0, len(z), rows)] for z in (x, y)]
    pairs = [(a, b) for a in blocks[0] for b in blocks[1] if x is not y or a.start <= b.start]

    def load(values: np.ndarray, block: slice) -> tuple[Tensor, Tensor]:
        centred = torch.from_numpy(values[block] - middle).to(device)  # (n, D)
        return centred, centred.square().sum(1) / 2

    held = None
    with progress(what, len(pairs)) as bar:
        for a, b in pairs:
            if stop.requested():
                raise Interrupted("stopped while nearest neighbours were sought; the same command does it again")
            if held is None or held[0] != a:
                held = (a, *load(x, a))
            other, half = load(y, b)
            scores = torch.addmm(-held[2][:, None], held[1], other.T).sub_(half)  # (n, m)
            yield a, b, scores, unit * float(held[2].max() + half.max())
            bar.advance()


def _squares(x: np.ndarray, i: np.ndarray, y: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Squared distances (P,) of rows i of x and j of y, both (P,), in float64."""
    found = np.empty(len(i))
    rows = max(1, BYTES // (8 * x.shape[1]))
    for start in range(0, len(i), rows):
        block = slice(start, start + rows)
        difference = x[i[block]].astype(np.float64) - y[j[block]]  # (n, D)
        found[block] = np.einsum("nd,nd->n", difference, difference)
    return found
