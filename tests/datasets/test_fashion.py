"""The data set that comes with the package: what it holds, how it is split, what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dit_toolkit.datasets import fashion
from dit_toolkit.datasets.fashion import Fashion, decode, held_out, read
from dit_toolkit.errors import DataError
from dit_toolkit.random import Generator


def test_split_sizes_are_the_same_share_of_every_class():
    train, val = Fashion().open("train"), Fashion().open("val")
    assert (len(train), len(val)) == (8_500, 1_500)
    assert np.bincount(train.labels).tolist() == [850] * 10
    assert np.bincount(val.labels).tolist() == [150] * 10


def test_splits_are_disjoint_and_complete():
    images, labels = decode()
    mask = held_out(labels, 0)
    train, val = Fashion(image_size=28).open("train"), Fashion(image_size=28).open("val")
    np.testing.assert_array_equal(val.images, images[mask])
    np.testing.assert_array_equal(train.images, images[~mask])


def test_split_is_frozen():
    # The classifier of the metrics was trained on this split: other images held out would no longer be unseen.
    assert np.flatnonzero(held_out(decode()[1], 0))[:8].tolist() == [0, 3, 8, 9, 14, 18, 19, 21]
    assert np.flatnonzero(held_out(decode()[1], 1))[:8].tolist() != [0, 3, 8, 9, 14, 18, 19, 21]


def test_batch_is_the_published_pixels_within_a_black_border():
    split = Fashion().open("val")
    indices = np.array([7, 0, 1_499])
    x, y = split.batch(indices)
    raw, _ = Fashion(image_size=28).open("val").batch(indices)
    assert x.shape == (3, 1, 32, 32)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert y.tolist() == split.labels[indices].tolist()
    assert (x.min().item(), x.max().item()) == (-1, 1)
    assert torch.equal(x[:, :, 2:30, 2:30], raw)
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:30, 2:30] = False
    assert (x[:, 0, border] == -1).all()


def test_flips_depend_on_the_sample_and_not_on_the_batch():
    split, plain = Fashion(flip=True).open("train"), Fashion().open("train")
    indices = np.arange(400)
    x, _ = split.batch(indices, Generator(0, "flip", indices))
    original, _ = plain.batch(indices, Generator(0, "flip", indices))
    flipped = (x != original).flatten(1).any(1)
    assert 150 < flipped.sum() < 250
    assert torch.equal(torch.where(flipped[:, None, None, None], x.flip(-1), x), original)
    part, _ = split.batch(indices[100:110], Generator(0, "flip", indices[100:110]))
    assert torch.equal(part, x[100:110])


def test_nothing_is_flipped_without_generator_or_in_the_held_out_split():
    indices = np.arange(100)
    for split, generator in (("train", None), ("val", Generator(0, "flip", indices))):
        flipping, _ = Fashion(flip=True).open(split).batch(indices, generator)
        assert torch.equal(flipping, Fashion().open(split).batch(indices)[0])


def test_shape_and_names():
    assert Fashion().shape == (1, 32, 32)
    assert Fashion(image_size=28).shape == (1, 28, 28)
    assert Fashion().class_names[0] == "T-shirt/top"
    assert Fashion().class_names[9] == "Ankle boot"
    assert len(Fashion().class_names) == 10


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"image_size \(30\) must be 28 .* or 32"):
        Fashion(image_size=30)


def test_damaged_file_is_named_with_both_hashes(tmp_path):
    packed = bytearray((fashion.FOLDER / fashion.IMAGES).read_bytes())
    packed[1000] ^= 1
    (tmp_path / fashion.IMAGES).write_bytes(packed)
    with pytest.raises(DataError) as caught:
        read(tmp_path, fashion.IMAGES)
    message = str(caught.value)
    assert fashion.IMAGES in message
    assert f"expected {fashion.SHA256[fashion.IMAGES]}" in message
    assert message.count(fashion.SHA256[fashion.IMAGES]) == 1


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{fashion.LABELS}: cannot be read"):
        read(tmp_path, fashion.LABELS)


def test_licence_comes_with_the_data():
    text = (fashion.FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "Zalando" in text
    assert "The above copyright notice and this permission notice shall be included in all copies" in text


@pytest.mark.parametrize(
    "module",
    [
        "datasets.fashion",
        "autoencoders.identity",
        "metrics.class_accuracy",
        "metrics.frechet_distance",
        "extractors.fashion",
        "metrics.memorisation",
        "images",
    ],
)
def test_component_modules_do_not_load_torch(module):
    code = f"import sys, dit_toolkit.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
