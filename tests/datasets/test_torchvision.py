"""Data sets of torchvision, read by torchvision from files that are laid out as it wants them."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dit_toolkit.datasets import fashion
from dit_toolkit.datasets.torchvision import NAMES, Torchvision
from dit_toolkit.errors import DataError


@pytest.fixture
def root(tmp_path):
    """FashionMNIST whose training images are the test images that come with the package."""
    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    for name in (fashion.IMAGES, fashion.LABELS):
        data = fashion.gzip.decompress((fashion.FOLDER / name).read_bytes())
        for split in ("t10k", "train"):
            (raw / name.removesuffix(".gz").replace("t10k", split)).write_bytes(data)
    return tmp_path


def torchvision(root, **options):
    return Torchvision(root=str(root), **{"name": "FashionMNIST", "num_classes": 10, "image_size": 28, **options})


def test_pixels_and_labels_are_those_of_the_data_set(root):
    images, labels = fashion.decode()
    for split in ("train", "val"):
        found = torchvision(root, channels=1).open(split)
        x, y = found.batch(np.array([9_999, 5]))
        torch.testing.assert_close(x[1, 0], torch.from_numpy(images[5].copy()) / 127.5 - 1)
        assert (len(found), y.tolist()) == (10_000, labels[[9_999, 5]].tolist())


def test_names_of_classes_are_torchvisions(root):
    from torchvision.datasets import FashionMNIST

    assert torchvision(root).class_names == tuple(FashionMNIST.classes)
    assert all(len(set(names)) == 10 for names in NAMES.values())
    assert torchvision(root, name="CIFAR10").class_names[3] == "cat"
    assert torchvision(root, num_classes=3).class_names == ("0", "1", "2")
    assert torchvision(root, name="MNIST").class_names == tuple("0123456789")


def test_a_data_set_with_named_splits(tmp_path):
    """GTSRB and its like have `split`; ImageNet has train and val, in folders."""
    for split in ("train", "val"):
        for wnid in ("n01440764", "n01443537"):
            (tmp_path / split / wnid).mkdir(parents=True)
            Image.new("RGB", (40, 30), "red").save(tmp_path / split / wnid / "x.JPEG")
    torch.save(({"n01440764": ("tench",), "n01443537": ("goldfish",)}, []), tmp_path / "meta.bin")
    dataset = torchvision(tmp_path, name="ImageNet", num_classes=2, image_size=16)
    for split in ("train", "val"):
        x, y = dataset.open(split).batch(np.arange(2))
        assert (x.shape, y.tolist()) == ((2, 3, 16, 16), [0, 1])


def test_a_data_set_without_splits_is_split(tmp_path):
    images = tmp_path / "images"
    for name in "ab":
        (images / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (20, 20), index).save(images / name / f"{index}.png")
    dataset = torchvision(images, name="ImageFolder", num_classes=2, val_fraction=0.2)
    assert [np.bincount(dataset.open(split).labels).tolist() for split in ("train", "val")] == [[8, 8], [2, 2]]


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"x")
    split = torchvision(tmp_path, name="ImageFolder", num_classes=2, val_fraction=0).open("train")
    with pytest.raises(DataError, match="ImageFolder: image 1: not a readable image"):
        split.batch(np.array([1]))


@pytest.mark.parametrize("name", ["NoSuchSet", "utils", "VisionDataset", "CocoDetection"])
def test_names_that_are_no_classification_data_set(tmp_path, name):
    with pytest.raises(DataError, match=rf"dataset.*{name}"):
        torchvision(tmp_path, name=name).open("train")


def test_data_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"torchvision cannot open FashionMNIST in .*: Dataset not found"):
        torchvision(tmp_path).open("train")


def test_more_classes_than_promised(root):
    with pytest.raises(DataError, match="FashionMNIST has labels 0 to 9, but there are classes 0 to 4"):
        torchvision(root, num_classes=5).open("train")
    shutil.rmtree(root / "FashionMNIST")
    assert len(torchvision(root).class_names) == 10  # A model can be used where its data are not.
