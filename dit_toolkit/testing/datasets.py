"""Checks of datasets: items are a function of their index, and of the generator's seed where they are augmented."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dit_toolkit.components import Dataset, Shape, Split
from dit_toolkit.testing.inputs import generator


def check_shapes(dataset: Dataset) -> None:
    """x (N, C, H, W) float32 of the declared shape and y (N,) int64; neither split is empty."""
    import torch

    for name, split in _splits(dataset):
        assert len(split) > 0, f"{name}: the split is empty"
        index = _index(split)
        x, y = split.batch(index)
        right = (len(index), *(_latent(dataset) if dataset.latents else dataset.shape))
        assert tuple(x.shape) == right, f"{name}: items are {tuple(x.shape)}, expected {right}"
        assert x.dtype == torch.float32, f"{name}: items are {x.dtype}, expected float32"
        assert tuple(y.shape) == (len(index),), f"{name}: labels are {tuple(y.shape)}, expected (N,) = {(len(index),)}"
        assert y.dtype == torch.int64, f"{name}: labels of a batch are {y.dtype}, expected int64"


def check_range(dataset: Dataset) -> None:
    """Images lie in [-1, 1] and use more than half of it; latents are finite."""
    for name, split in _splits(dataset):
        x, _ = split.batch(np.arange(min(len(split), 64)))
        assert x.isfinite().all(), f"{name}: not every value is finite"
        low, high = float(x.min()), float(x.max())
        if not dataset.latents:
            assert -1 <= low < high <= 1, f"{name}: images lie in [{low:g}, {high:g}], expected [-1, 1]"
            assert high - low > 1, f"{name}: images lie in [{low:g}, {high:g}], a small part of [-1, 1]"


def check_labels(dataset: Dataset) -> None:
    """`labels` (len,) int64 index `class_names` and are those of the batches."""
    for name, split in _splits(dataset):
        labels, classes = split.labels, len(dataset.class_names)
        right = (len(split),)
        assert labels.shape == right, f"{name}: labels has shape {labels.shape}, expected (len,) = {right}"
        assert labels.dtype == np.int64, f"{name}: labels is {labels.dtype}, expected int64"
        seen = int(labels.min()), int(labels.max())
        assert 0 <= seen[0] <= seen[1] < classes, f"{name}: labels are {seen}, class_names has {classes}"
        index = _index(split)
        same = np.array_equal(split.batch(index)[1].numpy(), labels[index])
        assert same, f"{name}: the labels of a batch are not `labels` at its indices"


def check_items_repeat(dataset: Dataset) -> None:
    """Item i is the same every time, in every batch; with a generator it depends on seed and sample index alone."""
    import torch

    for name, split in _splits(dataset):
        index = _index(split)
        numbers = tuple(range(10, 10 + len(index)))
        for augmented in (False, True):
            drawn = (generator(*numbers), generator(*numbers), generator(numbers[1])) if augmented else (None,) * 3
            first, second = split.batch(index, drawn[0])[0].clone(), split.batch(index, drawn[1])[0].clone()
            how = f"{name}, {'augmented' if augmented else 'plain'}"
            assert torch.equal(first, second), f"{how}: the same items differ the second time"
            alone = split.batch(index[1:2], drawn[2])[0]
            assert torch.equal(first[1:2], alone), f"{how}: item {index[1]} differs when it is alone in its batch"


def check_resumes(dataset: Dataset) -> None:
    """Opened again, as a resumed run does, a split has the same items in the same places."""
    import torch

    for (name, split), (_, again) in zip(_splits(dataset), _splits(dataset), strict=True):
        assert len(split) == len(again), f"{name}: {len(split)} items, but {len(again)} when it is opened again"
        index = _index(split)
        x, other = split.batch(index)[0], again.batch(index)[0]
        assert torch.equal(x, other), f"{name}: opened again, the items are others"


def check_batches_are_copies(dataset: Dataset) -> None:
    """Writing to a batch does not change the dataset."""
    for name, split in _splits(dataset):
        index = np.arange(min(len(split), 4))
        for part, what in enumerate(("images", "labels")):
            before = split.batch(index)[part].clone()
            split.batch(index)[part].zero_()
            same = bool((split.batch(index)[part] == before).all())
            assert same, f"{name}: writing to the {what} of a batch changes the dataset"


def _splits(dataset: Dataset) -> list[tuple[str, Split]]:
    names: tuple[Literal["train", "val"], ...] = ("train", "val")
    if dataset.latents:
        return [(name, dataset.open_latents(name, _latent(dataset))) for name in names]
    return [(name, dataset.open(name)) for name in names]


def _latent(dataset: Dataset) -> Shape:
    """The shape that latents of its images have with most autoencoders."""
    _, height, width = dataset.shape
    return 4, height // 8, width // 8


def _index(split: Split) -> np.ndarray:
    """Some items out of order, the last among them."""
    return np.unique([0, len(split) - 1, len(split) // 2, len(split) // 3])[::-1].copy()
