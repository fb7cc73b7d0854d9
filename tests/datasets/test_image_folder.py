"""Folders of images: which classes and files there are, how they are split, what is refused."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from dit_toolkit.datasets import pictures
from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.datasets.split import held_out
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.random import Generator
from dit_toolkit.transforms import centre_crop, read_image
from tests.data import image, image_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return image_tree(tmp_path_factory.mktemp("data") / "images")


def folder(path, **options):
    return ImageFolder(path=str(path), **{"image_size": 16, "num_classes": 3, **options})


def test_items_are_the_files_in_the_order_of_their_names(tree):
    split = folder(tree).open("train")
    assert [file[len(str(tree)) :] for file in split.files[5:8]] == [
        "/train/a/005.jpg", "/train/b/000.jpg", "/train/b/001.jpg",
    ]  # fmt: skip
    assert split.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    x, y = split.batch(np.array([7, 0]))
    expected = np.asarray(centre_crop(read_image(tree / "train/b/001.jpg"), 16, 16)).transpose(2, 0, 1)
    torch.testing.assert_close(x[0], torch.tensor(expected) / 127.5 - 1)
    assert (x.shape, x.dtype, y.tolist()) == ((2, 3, 16, 16), torch.float32, [1, 0])
    assert len(folder(tree).open("val")) == 6


def test_sizes_may_differ_in_height_and_width_and_be_grey(tree):
    dataset = folder(tree, image_size=(8, 12), channels=1)
    assert dataset.shape == (1, 8, 12)
    assert dataset.open("val").batch(np.arange(2))[0].shape == (2, 1, 8, 12)


def test_threads_change_nothing(tree, monkeypatch):
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(pictures, "cores", lambda threads=threads: threads)
        split = folder(tree, crop="random").open("train")
        found.append(split.batch(np.arange(18), Generator(0, "train", np.arange(18)))[0])
        assert (split._pool is None) == (threads == 1)
    assert torch.equal(*found)


def test_the_cores_of_a_machine_are_shared_by_its_processes(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    for processes, expected in (("1", 8), ("3", 2), ("16", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert pictures.cores() == expected


def test_flips_and_random_crops_go_by_sample_and_are_for_training(tree):
    plain, changed = folder(tree), folder(tree, flip=True, crop="random")
    index = np.arange(18)
    x, _ = changed.open("train").batch(index, Generator(0, "train", index))
    part, _ = changed.open("train").batch(index[4:6], Generator(0, "train", index[4:6]))
    assert torch.equal(part, x[4:6])
    assert not torch.equal(x, plain.open("train").batch(index)[0])
    assert torch.equal(changed.open("train").batch(index)[0], plain.open("train").batch(index)[0])
    held = np.arange(6)
    val = changed.open("val").batch(held, Generator(0, "train", held))[0]
    assert torch.equal(val, plain.open("val").batch(held)[0])


def test_flips_mirror_the_image(tree):
    index = np.arange(18)
    x, _ = folder(tree, flip=True).open("train").batch(index, Generator(0, "train", index))
    plain, _ = folder(tree).open("train").batch(index)
    mirrored = (x == plain.flip(-1)).flatten(1).all(1)
    assert 0 < mirrored.sum() < 18
    assert torch.equal(torch.where(mirrored[:, None, None, None], x.flip(-1), x), plain)


def test_a_part_of_every_class_is_held_out_where_there_is_no_val(tree):
    train, val = (folder(tree / "train", val_fraction=0.34).open(split) for split in ("train", "val"))
    assert np.bincount(train.labels).tolist() == [4] * 3
    assert np.bincount(val.labels).tolist() == [2] * 3
    assert set(train.files).isdisjoint(val.files)
    assert sorted(train.files + val.files) == folder(tree).open("train").files


def test_held_out_shares_are_rounded_for_each_class():
    labels = np.repeat([0, 2, 1], [10, 1, 25])
    mask = held_out(labels, 0.1)
    assert np.bincount(labels[mask], minlength=3).tolist() == [1, 2, 0]
    assert np.array_equal(mask, held_out(labels, 0.1))
    assert not np.array_equal(mask, held_out(labels, 0.1, seed=1))
    assert held_out(labels, 0).sum() == 0


def test_readable_names_stand_in_classes_json(tree, tmp_path):
    copy = image_tree(tmp_path / "copy")
    assert folder(copy).class_names == ("a", "b", "c")
    (copy / "classes.json").write_text(json.dumps({"a": "apple", "c": "cherry"}))
    assert folder(copy).class_names == ("apple", "b", "cherry")
    for text in ("[]", "{", '{"a": 1}'):
        (copy / "classes.json").write_text(text)
        with pytest.raises(DataError, match=r"classes\.json: (must be a table|cannot be read)"):
            folder(copy).class_names  # noqa: B018


def test_without_the_folder_classes_have_numbers(tmp_path):
    absent = folder(tmp_path / "gone")
    assert absent.class_names == ("0", "1", "2")
    with pytest.raises(MissingDataError, match=r"dataset\.path: there is no folder .*gone"):
        absent.check()
    with pytest.raises(MissingDataError):
        absent.open("train")


def test_another_number_of_classes_is_refused(tree):
    with pytest.raises(DataError, match=r"dataset\.num_classes: .* has 3 classes \(a, b, c\), not 5"):
        folder(tree, num_classes=5).open("train")
    assert folder(tree, num_classes=5).class_names == ("0", "1", "2", "3", "4")


def test_an_empty_class_is_named(tmp_path):
    tree = image_tree(tmp_path / "images")
    for file in (tree / "train/b").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"1 classes in .*train have no image: b"):
        folder(tree).open("train")


def test_a_class_that_only_val_has_is_named(tmp_path):
    tree = image_tree(tmp_path / "images")
    (tree / "val/d").mkdir()
    with pytest.raises(DataError, match="val has classes that train lacks: d"):
        folder(tree).open("val")


def test_no_val_folder_beside_train_is_an_error(tmp_path):
    tree = image_tree(tmp_path / "images", val=0)
    for name in "abc":
        (tree / "val" / name).rmdir()
    with pytest.raises(DataError, match=r"the val split of .* is empty"):
        folder(tree).open("val")
    (tree / "val").rmdir()
    with pytest.raises(DataError, match="has a folder train, but none named val"):
        folder(tree).open("val")


def test_other_files_are_left_out_with_a_warning(tmp_path, capsys):
    tree = image_tree(tmp_path / "images")
    (tree / "train/a/notes.txt").write_text("hello")
    (tree / "train/a/.hidden.jpg").write_bytes(b"")
    (tree / "train/.cache").mkdir()
    assert len(folder(tree).open("train")) == 18
    assert "train: 1 files are no images by their names and are left out" in capsys.readouterr().err


def test_a_damaged_image_is_named(tmp_path):
    tree = image_tree(tmp_path / "images")
    (tree / "train/b/003.jpg").write_bytes(b"nothing")
    split = folder(tree).open("train")
    split.batch(np.array([0, 8]))
    with pytest.raises(DataError, match=r"train/b/003\.jpg: not a readable image"):
        split.batch(np.array([0, 9]))


def test_an_image_too_narrow_to_crop_is_named(tmp_path):
    tree = image_tree(tmp_path / "images")
    Image.new("RGB", (1, 30_000)).save(tree / "train/a/000.jpg".replace("jpg", "png"))
    with pytest.raises(DataError, match=r"train/a/000\.png: 1 x 30000 pixels are too narrow"):
        folder(tree, image_size=128).open("train").batch(np.array([1]))


def test_names_beyond_ascii(tmp_path):
    for name in ("ä ö", "ж", "x"):
        (tmp_path / name).mkdir()
        image(0).save(tmp_path / name / "é 1.PNG")
    split = folder(tmp_path, val_fraction=0).open("train")
    assert split.batch(np.arange(3))[0].shape == (3, 3, 16, 16)
    assert folder(tmp_path).class_names == ("x", "ä ö", "ж")
