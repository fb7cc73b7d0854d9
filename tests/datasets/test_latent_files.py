"""Training from the files of other programs is training from a store that was made of them."""

import json

import numpy as np
import pytest
import torch

from dit_toolkit.datasets.latent_files import LatentFiles
from dit_toolkit.datasets.latents import Latents
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.interop.latents import Options, import_latents
from dit_toolkit.random import Generator
from tests import caches
from tests.caches import SHAPE

SIZE = {"image_size": (32, 48), "num_classes": 3}
MAKE = {
    "cerebras": caches.cerebras,
    "fast-dit": lambda path: caches.fast_dit(path, 60),
    "lightningdit": lambda path: caches.lightningdit(path, (40, 20)),
    "npz": lambda path: (path.mkdir(), caches.npz(path / "train.npz", moments=True, count=60)),
}
FACTORS = {"npz": 0.5}


@pytest.mark.parametrize("format", MAKE)
def test_both_give_the_same(tmp_path, format):
    MAKE[format](tmp_path / "cache")
    options = Options(
        scaling_factor=FACTORS.get(format),
        num_classes=3,
        image_size=SIZE["image_size"],
        dtype="float32",
        val_fraction=0.1,
    )
    import_latents(tmp_path / "cache", tmp_path / "store", format=format, options=options)
    store = Latents(path=str(tmp_path / "store"), **SIZE)
    files = LatentFiles(
        path=str(tmp_path / "cache"), format=format, scaling_factor=FACTORS.get(format), val_fraction=0.1, **SIZE
    )
    for split in ("train", "val"):
        stored, there = (dataset.open_latents(split, SHAPE) for dataset in (store, files))
        assert np.array_equal(stored.labels, there.labels)
        index = np.arange(len(stored))[::-1].copy()
        for generators in ((None, None), [Generator(3, "train", index) for _ in range(2)]):
            for x, other in zip(stored.batch(index, generators[0]), there.batch(index, generators[1]), strict=True):
                assert torch.equal(x, other)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (4, 8, 8), r"has latents of \(4, 4, 6\); those of the recipe are \(4, 8, 8\)"),
        ({"num_classes": 2}, SHAPE, "its label is 2, but there are classes 0 to 1"),
        ({"format": "npz"}, SHAPE, "is no .npz file, and has none named train.npz"),
        ({"format": "cerebras"}, SHAPE, r"has 2 classes \(imagenet256_features, imagenet256_labels\), not 3"),
        ({"flipped": "x"}, SHAPE, "fast-dit has no folders of mirrored images"),
        ({"val_fraction": 0.0}, SHAPE, "the val split of .* is empty"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, options, shape, message):
    caches.fast_dit(tmp_path / "cache")
    dataset = LatentFiles(**{"path": str(tmp_path / "cache"), "format": "fast-dit", **SIZE, **options})
    with pytest.raises(DataError, match=message):
        dataset.open_latents("val", shape)


def test_names_of_classes(tmp_path):
    caches.fast_dit(tmp_path / "cache")
    dataset = LatentFiles(path=str(tmp_path / "cache"), format="fast-dit", **SIZE)
    assert dataset.class_names == ("0", "1", "2")
    (tmp_path / "cache/classes.json").write_text(json.dumps({"n2": "ox", "n1": "hen", "n3": "owl"}))
    assert dataset.class_names == ("hen", "ox", "owl")
    (tmp_path / "cache/classes.json").write_text(json.dumps({"n2": "ox", "n1": "hen"}))
    with pytest.raises(DataError, match="there are names of 2 classes, but 3 classes"):
        dataset.open_latents("train", SHAPE)


def test_a_place_where_nothing_is(tmp_path):
    dataset = LatentFiles(path=str(tmp_path / "cache"), format="fast-dit", **SIZE)
    with pytest.raises(MissingDataError, match="there is nothing at"):
        dataset.check()
    with pytest.raises(DataError, match="holds latents, no images"):
        dataset.open("train")


def test_a_file_that_goes_bad_in_training_is_named(tmp_path):
    caches.cerebras(tmp_path / "cache")
    split = LatentFiles(path=str(tmp_path / "cache"), format="cerebras", **SIZE).open_latents("train", SHAPE)
    (tmp_path / "cache/train/n02/n02_0.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"n02_0.npz: cannot be read as an .npz file"):
        split.batch(np.arange(9))
