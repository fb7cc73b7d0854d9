"""The shipped classifier says of itself what it does."""

import numpy as np
import pytest

from dit_toolkit.datasets.fashion import IMAGES, SHA256, Fashion
from dit_toolkit.errors import DataError
from dit_toolkit.extractors import classifier
from dit_toolkit.images import to_uint8
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.class_accuracy import ClassAccuracy


@pytest.mark.parametrize(("split", "key"), [("val", "accuracy_heldout"), ("train", "accuracy_train")])
def test_accuracy_is_the_recorded_one(split, key):
    opened = Fashion().open(split)
    images = to_uint8(opened.batch(np.arange(len(opened)))[0])
    recorded = float(classifier.metadata()[key])
    assert ClassAccuracy().compute(ImageSet(images, opened.labels), None) == pytest.approx(recorded, abs=1e-3)
    assert recorded >= 0.9


def test_padding_does_not_matter():
    features = []
    for size in (28, 32):
        split = Fashion(image_size=size).open("val")
        features.append(classifier.classify(to_uint8(split.batch(np.arange(50))[0]))[1])
    np.testing.assert_array_equal(*features)
    assert features[0].shape == (50, 128)
    assert features[0].dtype == np.float32


def test_weights_are_small_and_made_from_the_shipped_data():
    assert len(classifier.WEIGHTS.read_bytes()) <= 400_000
    assert classifier.metadata()["data_sha256"] == SHA256[IMAGES]


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(classifier.WEIGHTS.read_bytes() + b"!")
    with pytest.raises(DataError, match=rf"weights\.safetensors: SHA-256 is .*, expected {classifier.SHA256}"):
        classifier.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        classifier.read(tmp_path / "none")


@pytest.mark.parametrize("size", [16, 256])
def test_images_of_other_sizes_are_refused(size):
    with pytest.raises(DataError, match=f"images are {size} x {size}; the Fashion-MNIST classifier takes"):
        ClassAccuracy().compute(ImageSet(np.zeros((2, size, size, 3), np.uint8), np.zeros(2, int)), None)


def test_labels_of_other_data_are_refused():
    with pytest.raises(DataError, match="seen class 207"):
        ClassAccuracy().compute(ImageSet(np.zeros((1, 32, 32, 3), np.uint8), np.array([207])), None)
