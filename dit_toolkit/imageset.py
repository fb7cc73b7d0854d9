"""A set of images, and what was found out about each of them: looked at once, kept, and cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from attrs import frozen

from dit_toolkit import stop
from dit_toolkit.errors import DataError, Interrupted
from dit_toolkit.moments import Moments
from dit_toolkit.progress import progress

if TYPE_CHECKING:
    from dit_toolkit.components import Extractor

T = TypeVar("T")

BLOCK = 500
"""Images that are held at once."""
PARTS = 10
"""Parts, each of which is left out once to estimate the error of a metric."""


class Pixels(Protocol):
    """Images uint8 (N, H, W, 3): an array, one mapped from a file, or what reads them as they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: np.ndarray) -> np.ndarray: ...


@frozen
class Stored:
    """What a file holds of an output of an extractor."""

    fingerprint: str | None
    """Of the extractor; None where the file does not say."""
    moments: Moments | None = None
    values: np.ndarray | None = None
    """(N, D) float32."""


class ImageSet:
    """Images with their classes, and what extractors see in them.

    What `each`, `seen` and `moments` found is kept, so that metrics share it, also those of a part.

    Args:
        images: uint8 (N, H, W, 3); None where only `stored` is there.
        labels: the classes asked for, (N,) int64; None where they are not known.
        stored: by kind and output of an extractor.
        device: where extractors run.
        name: what messages call the set.
    """

    def __init__(
        self,
        images: Pixels | None,
        labels: np.ndarray | None = None,
        *,
        stored: Mapping[tuple[str, str], Stored] | None = None,
        device: str = "cpu",
        name: str = "samples",
    ) -> None:
        self._images, self._labels, self._stored = images, labels, dict(stored or {})
        self.device, self.name = device, name
        self._kept: dict[Hashable, np.ndarray] = {}
        self._moments: dict[Hashable, Moments] = {}
        self._facts: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        if self._images is not None:
            return len(self._images)
        return max((len(s.values) for s in self._stored.values() if s.values is not None), default=0)

    @property
    def images(self) -> Pixels:
        """The images themselves; DataError where a file has only what an extractor saw in them."""
        if self._images is None:
            raise DataError(f"{self.name}: holds no images, only {self._contents()}")
        return self._images

    @property
    def labels(self) -> np.ndarray:
        """The class (N,) of each; DataError where they are not known."""
        if self._labels is None:
            raise DataError(f"{self.name}: the classes are not known; a .json file beside the images has `labels`")
        return self._labels

    @property
    def labelled(self) -> bool:
        """Whether the classes are known."""
        return self._labels is not None

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Go through the images, uint8 (n, H, W, 3), some at a time."""
        for start in range(0, len(self), size):
            yield np.asarray(self.images[np.arange(start, min(start + size, len(self)))])

    def once(self, key: Hashable, find: Callable[[ImageSet], np.ndarray]) -> np.ndarray:
        """What `find` says of each image, (N, ...), given the whole set; asked once for a `key`."""
        if key not in self._kept:
            self._kept[key] = find(self)
        return self._kept[key]

    def fact(self, key: Hashable, find: Callable[[], T]) -> T:
        """What `find` says of the set as a whole, asked once for a `key`; of a part it is another one."""
        if key not in self._facts:
            self._facts[key] = find()
        found: T = self._facts[key]
        return found

    def each(self, key: Hashable, find: Callable[[np.ndarray], np.ndarray], *, what: str = "looking") -> np.ndarray:
        """What `find` says of each image, (N, ...); `find` is given blocks (n, H, W, 3) and asked once for a `key`.

        Raises:
            Interrupted: something asked to stop.
        """
        if key not in self._kept:
            self._keep(lambda block: {key: find(block)}, what)
        return self._kept[key]

    def seen(self, extractor: Extractor, output: str = "features") -> np.ndarray:
        """An output of an extractor for each image, (N, D) float32.

        Raises:
            DataError: the extractor has no such output, gave NaN, or a file holds what another one saw.
            Interrupted: something asked to stop.
        """
        stored = self._found(extractor, output)
        if stored and stored.values is not None:
            return stored.values
        fingerprint = extractor.fingerprint()
        key = (fingerprint, output)
        if key not in self._kept:
            see = extractor.load(self.device)

            def find(block: np.ndarray) -> dict[Hashable, np.ndarray]:
                outputs = see(block)
                _refuse_nan(extractor, outputs)
                return {(fingerprint, name): values for name, values in outputs.items()}

            self._keep(find, f"{extractor.kind} sees {self.name}")
        if key not in self._kept:
            outputs = ", ".join(self.outputs(extractor))
            raise DataError(f"extractor {extractor.kind!r} gives no {output}; it gives {outputs}")
        return self._kept[key]

    def outputs(self, extractor: Extractor) -> list[str]:
        """Names of what an extractor gives."""
        fingerprint = extractor.fingerprint()
        if (fingerprint, "features") not in self._kept:
            self.seen(extractor)
        return sorted(key[1] for key in self._kept if isinstance(key, tuple) and key[0] == fingerprint)

    def knows(self, kind: str, output: str = "features", *, each: bool = False) -> bool:
        """Whether an output of an extractor can be had, of `each` image or its moments alone; from images or a file."""
        stored = self._stored.get((kind, output))
        return self._images is not None or (stored is not None and not (each and stored.values is None))

    def moments(self, extractor: Extractor, output: str = "features") -> Moments:
        """Mean and covariance of an output of an extractor; those of a file as they are stored. Raises as `seen`."""
        stored = self._found(extractor, output)
        if stored and stored.moments is not None:
            return stored.moments
        key = (extractor.fingerprint(), output)
        if key not in self._moments:
            self._moments[key] = Moments.of(self.seen(extractor, output))
        return self._moments[key]

    def take(self, index: np.ndarray) -> ImageSet:
        """The images at `index` (M,), which share with these what is found out."""
        return _Part(self, index)

    def apart(self, index: np.ndarray) -> ImageSet:
        """The images at `index` (M,) as a set of their own, so that the others need not be looked at."""
        labels = self.labels[index] if self.labelled else None
        return ImageSet(_Chosen(self.images, index), labels, device=self.device, name=self.name)

    def left_out(self, parts: int = PARTS) -> Iterator[ImageSet]:
        """Each set that is left without one of so many parts, which have the classes in equal shares."""
        count = len(self)
        order = np.random.default_rng(0).permutation(count)
        if self.labelled:
            order = order[np.argsort(self.labels[order], kind="stable")]
        number = np.empty(count, np.int64)
        number[order] = np.arange(count) % parts
        for part in range(min(parts, count) if count > 1 else 0):
            yield _Rest(self, np.flatnonzero(number != part), np.flatnonzero(number == part))

    def _keep(self, find: Callable[[np.ndarray], Mapping[Hashable, np.ndarray]], what: str) -> None:
        """Fill an array for each thing that `find` finds out about blocks of images."""
        arrays: dict[Hashable, np.ndarray] = {}
        with progress(what, len(self.images)) as bar:
            done = 0
            for block in self.blocks():
                if stop.requested():
                    raise Interrupted(f"stopped while {self.name} were looked at; the same command does it again")
                for key, values in find(block).items():
                    if key not in arrays:
                        arrays[key] = np.empty((len(self), *values.shape[1:]), values.dtype)
                    arrays[key][done : done + len(block)] = values
                done += len(block)
                bar.advance(len(block))
        self._kept.update(arrays)

    def _found(self, extractor: Extractor, output: str) -> Stored | None:
        stored = self._stored.get((extractor.kind, output))
        if stored and stored.fingerprint not in (None, extractor.fingerprint()):
            raise DataError(
                f"{self.name}: was made by extractor {extractor.kind!r} with fingerprint {stored.fingerprint}, "
                f"here it has {extractor.fingerprint()}: other weights or settings"
            )
        return stored

    def _contents(self) -> str:
        return ", ".join(f"{output} of {kind}" for kind, output in self._stored) or "nothing"


class _Part(ImageSet):
    """Some images of another set."""

    def __init__(self, whole: ImageSet, index: np.ndarray) -> None:
        labels = whole.labels[index] if whole.labelled else None
        images = None if whole._images is None else _Chosen(whole._images, index)
        super().__init__(images, labels, device=whole.device, name=whole.name)
        self.whole, self.index = whole, index

    def __len__(self) -> int:
        return len(self.index)

    def once(self, key: Hashable, find: Callable[[ImageSet], np.ndarray]) -> np.ndarray:
        found: np.ndarray = self.whole.once(key, find)[self.index]
        return found

    def each(self, key: Hashable, find: Callable[[np.ndarray], np.ndarray], *, what: str = "looking") -> np.ndarray:
        found: np.ndarray = self.whole.each(key, find, what=what)[self.index]
        return found

    def seen(self, extractor: Extractor, output: str = "features") -> np.ndarray:
        found: np.ndarray = self.whole.seen(extractor, output)[self.index]
        return found


class _Rest(_Part):
    """All images of another set but those of a part; its moments are the difference of theirs."""

    def __init__(self, whole: ImageSet, index: np.ndarray, part: np.ndarray) -> None:
        super().__init__(whole, index)
        self.part = part

    def moments(self, extractor: Extractor, output: str = "features") -> Moments:
        part = Moments.of(self.whole.seen(extractor, output)[self.part])
        return self.whole.moments(extractor, output).without(part)


@frozen
class _Chosen:
    """Rows of images, read when they are asked for."""

    images: Pixels
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return self.images[self.index[index]]


def _refuse_nan(extractor: Extractor, outputs: Mapping[str, np.ndarray]) -> None:
    for output, values in outputs.items():
        if broken := int(np.isnan(values).any(axis=1).sum()):
            raise DataError(f"extractor {extractor.kind!r}: {output} of {broken} of {len(values)} images hold NaN")
