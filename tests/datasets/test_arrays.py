"""An .npz file of images and labels."""

import io
import zipfile

import numpy as np
import pytest
import torch

from dit_toolkit.datasets.arrays import Arrays
from dit_toolkit.errors import DataError, MissingDataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 8, 8, 3), np.uint8)
LABELS = np.arange(20) % 4


def arrays(folder, **options):
    return Arrays(path=str(folder / "x.npz"), **{"image_size": 8, "num_classes": 4, "val_fraction": 0.2, **options})


def save(folder, **content):
    np.savez_compressed(folder / "x.npz", **content)


def test_both_splits_hold_every_image_once(tmp_path):
    save(tmp_path, images=IMAGES, labels=LABELS)
    train, val = (arrays(tmp_path).open(name) for name in ("train", "val"))
    assert np.bincount(val.labels).tolist() == [1] * 4
    assert np.bincount(train.labels).tolist() == [4] * 4
    x = torch.cat([split.batch(np.arange(len(split)))[0] for split in (train, val)])
    expected = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 127.5 - 1
    assert sorted(x.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(expected.sum((1, 2, 3)).tolist()), abs=1e-3)


@pytest.mark.parametrize("images", [IMAGES[..., 0], IMAGES[..., :1]])
def test_grey_images(tmp_path, images):
    save(tmp_path, images=images, labels=LABELS.astype(np.uint8))
    x, y = arrays(tmp_path, channels=1, val_fraction=0).open("train").batch(np.array([3]))
    torch.testing.assert_close(x[0, 0], torch.from_numpy(IMAGES[3, :, :, 0].copy()) / 127.5 - 1)
    assert (y.tolist(), y.dtype) == ([3], torch.int64)


def test_images_are_resized_and_cropped(tmp_path):
    save(tmp_path, images=IMAGES, labels=LABELS)
    assert arrays(tmp_path, image_size=(4, 12)).open("train").batch(np.arange(2))[0].shape == (2, 3, 4, 12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": IMAGES}, "holds no array labels"),
        ({"arr_0": IMAGES}, "holds no array images and no labels"),
        ({"images": IMAGES / 255, "labels": LABELS}, r"images are float64 .*; expected uint8"),
        ({"images": IMAGES[..., :2], "labels": LABELS}, "expected uint8"),
        ({"images": IMAGES, "labels": LABELS[:5]}, r"labels are int64 \(5,\) for images \(20, 8, 8, 3\)"),
        ({"images": IMAGES, "labels": LABELS / 2}, "labels are float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels go from -1 to 2, but there are classes 0 to 3"),
        ({"images": IMAGES, "labels": LABELS + 1}, "labels go from 1 to 4, but there are classes 0 to 3"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "labels are"),
        ({"images": np.array([{}] * 20), "labels": LABELS}, "cannot be read as an .npz file of arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, content, message):
    save(tmp_path, **content)
    with pytest.raises(DataError, match=rf"x\.npz: .*{message}"):
        arrays(tmp_path).open("train")


@pytest.mark.parametrize("data", [b"", b"text", None])
def test_files_that_are_none_are_refused(tmp_path, data):
    save(tmp_path, images=IMAGES, labels=LABELS)
    path = tmp_path / "x.npz"
    path.write_bytes(path.read_bytes()[:400] if data is None else data)
    with pytest.raises(DataError, match=r"x\.npz: cannot be read"):
        arrays(tmp_path).open("train")


def test_an_array_that_claims_to_be_enormous_is_refused(tmp_path):
    header = io.BytesIO()
    table = {"descr": "|u1", "fortran_order": False, "shape": (2**22, 2**12, 2**12)}
    np.lib.format.write_array_header_1_0(header, table)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("images.npy", header.getvalue() + bytes(100))
        file.writestr("labels.npy", b"")
    with pytest.raises(DataError, match=r"x\.npz: cannot be read as an \.npz file"):
        Arrays(path=str(tmp_path / "x.npz"), num_classes=3).open("train")


def test_one_array_is_no_npz_file(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(DataError, match="cannot be read"):
        arrays(tmp_path).open("train")


def test_a_missing_file_and_an_empty_split(tmp_path):
    with pytest.raises(MissingDataError, match="there is no file"):
        arrays(tmp_path).check()
    save(tmp_path, images=IMAGES, labels=LABELS)
    with pytest.raises(DataError, match=r"the val split of .* is empty"):
        arrays(tmp_path, val_fraction=0).open("val")
