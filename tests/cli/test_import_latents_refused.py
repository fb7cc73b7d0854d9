"""Caches of latents that are damaged or do not fit are refused by name, and nothing in them is unpickled."""

import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import caches
from tests.caches import SHAPE


def resave(path, **changes):
    """Write an .npz again, with arrays changed, or left out where they are None."""
    with np.load(path) as file:
        arrays = {**file, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


class Evil:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


POSTERIOR = np.zeros((8, 4, 6), np.float32)
CEREBRAS = {
    "no latents": (lambda f: resave(f, vae_output=None), "holds no array vae_output"),
    "no label": (lambda f: resave(f, label=None), "holds no array label"),
    "mixed shapes": (
        lambda f: resave(f, vae_output=POSTERIOR[:, :2]),
        "latents are (8, 2, 6), those of the first file",
    ),
    "wrong shape": (lambda f: resave(f, vae_output=POSTERIOR[0]), "expected floats (channels, height, width)"),
    "whole numbers": (lambda f: resave(f, vae_output=POSTERIOR.astype(int)), "expected floats"),
    "not finite": (lambda f: resave(f, vae_output=POSTERIOR + np.nan), "its latent is not finite in float16"),
    "label of another": (lambda f: resave(f, label=np.int32(2)), "its label is 2, but its folder is number 1"),
    "label beyond": (lambda f: resave(f, label=np.int32(7)), "its label is 7, but its folder is number 1"),
    "many labels": (lambda f: resave(f, label=np.arange(2)), "expected one whole number"),
    "cut off": (cut, "cannot be read as an .npz file"),
    "empty": (lambda f: f.write_bytes(b""), "cannot be read as an .npz file"),
    "pickled": (lambda f: resave(f, vae_output=np.array([Evil()])), "Object arrays cannot be loaded"),
    "pickle alone": (lambda f: f.write_bytes(pickle.dumps(Evil())), "cannot be read as an .npz file"),
}


@pytest.mark.parametrize("case", CEREBRAS)
def test_a_file_of_cerebras_that_is_wrong_is_named(take, tmp_path, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    caches.cerebras(tmp_path / "source", splits=("train",))
    harm, message = CEREBRAS[case]
    harm(tmp_path / "source/train/n02/n02_1.npz")
    result, manifest = take("cerebras")
    assert (result.exit_code, manifest) == (2, None)
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "n02_1.npz: " in line
    assert message in line
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "unpickled").exists()


def test_folders_of_cerebras_that_are_wrong_are_named(take, tmp_path):
    source = tmp_path / "source"
    (source / "train").mkdir(parents=True)
    assert "train: holds no folder of a class with .npz files" in take("cerebras")[0].stderr
    (source / "train/n01").mkdir()
    assert "train/n01: holds no .npz file" in take("cerebras")[0].stderr
    (source / "train/n01").rmdir()
    (source / "train").rmdir()
    caches.cerebras(source)
    assert "has 3 classes (n01, n02, n05), not 1000" in take("cerebras", "--num-classes", "1000")[0].stderr
    (tmp_path / "classes.json").write_text('{"n01": "a", "n02": "b"}')
    assert "are no classes: n05" in take("cerebras", "--classes", tmp_path / "classes.json")[0].stderr
    (source / "val/n02").rename(source / "val/n03")
    assert "class_names of val is ['n01', 'n03', 'n05'], of train ['n01', 'n02'" in take("cerebras")[0].stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("store")] == []


def label(root):
    return root / "imagenet256_labels/3.npy"


def latent(root):
    return root / "imagenet256_features/3.npy"


FAST_DIT = {
    "label beyond": (lambda root: np.save(label(root), np.array([3])), "labels/3.npy: its label is 3"),
    "label of floats": (lambda root: np.save(label(root), np.ones(1)), "expected one whole number"),
    "no label": (lambda root: (label(root)).unlink(), "there is no label for"),
    "no latent": (lambda root: (latent(root)).unlink(), "there is no latent for"),
    "cut off": (lambda root: cut(latent(root)), "features/3.npy: cannot be read as an .npy file"),
    "mixed": (lambda root: np.save(latent(root), POSTERIOR), "features/3.npy: its latents are (8"),
    "two in one": (lambda root: np.save(latent(root), POSTERIOR[None, None]), "features/3.npy: "),
    "no folder": (lambda root: (root / "imagenet256_labels").rename(root / "x"), "has 0 folders *_labels; expected"),
    "two folders": (lambda root: (root / "old_labels").mkdir(), "has 2 folders *_labels; expected one"),
    "pickled": (
        lambda root: np.save(latent(root), np.array([Evil()]), allow_pickle=True),
        "Object arrays cannot be loaded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAST_DIT)
def test_files_of_fast_dit_that_are_wrong_are_named(take, tmp_path, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    caches.fast_dit(tmp_path / "source")
    harm, message = FAST_DIT[case]
    harm(tmp_path / "source")
    result, manifest = take("fast-dit", "--num-classes", "3")
    assert (result.exit_code, manifest) == (2, None)
    assert message in result.stderr
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "unpickled").exists()


def again(path, **changes):
    tensors = {**load_file(path), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


LIGHTNINGDIT = {
    "no latents": (lambda shard: again(shard, latents=None), "holds no latents; it has"),
    "no labels": (lambda shard: again(shard, labels=None), "holds no labels; it has"),
    "mirrored in one shard only": (lambda shard: again(shard, latents_flip=None), "has 1 x (4, 4, 6) for each image"),
    "another shape": (
        lambda shard: again(shard, latents=torch.ones(3, 4, 2, 2), latents_flip=torch.ones(3, 4, 2, 2)),
        "has 2 x (4, 2, 2) for each image",
    ),
    "mirrored of another shape": (lambda shard: again(shard, latents_flip=torch.ones(3, 4, 2, 2)), "latents_flip (3, "),
    "labels of another number": (lambda shard: again(shard, labels=torch.ones(4).long()), "for 3 latents"),
    "label beyond": (lambda shard: again(shard, labels=torch.tensor([0, 1, 3])), "row 2: its label is 3"),
    "whole numbers": (lambda shard: again(shard, latents=torch.ones(3, *SHAPE).long()), "expected floats"),
    "cut off": (cut, "cannot be read as a safetensors file"),
    "empty": (lambda shard: shard.write_bytes(b""), "cannot be read as a safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIGHTNINGDIT)
def test_shards_of_lightningdit_that_are_wrong_are_named(take, tmp_path, case):
    caches.lightningdit(tmp_path / "source")
    harm, message = LIGHTNINGDIT[case]
    harm(tmp_path / "source/latents_rank00_shard001.safetensors")
    result, manifest = take("lightningdit", "--num-classes", "3")
    assert (result.exit_code, manifest) == (2, None)
    assert "latents_rank00_shard001.safetensors: " in result.stderr
    assert message in result.stderr


@pytest.mark.parametrize(
    ("stats", "message"),
    [
        ({"mean": torch.zeros(4)}, "with the tensors mean and std (KeyError)"),
        ({"mean": torch.zeros(4), "std": torch.zeros(4)}, "std positive"),
        ({"mean": torch.zeros(4), "std": torch.ones(3)}, "of one length"),
        ({"mean": torch.zeros(3), "std": torch.ones(3)}, "have 4 channels, but there are 3 numbers of the shift"),
        (Evil(), "(UnpicklingError)"),
    ],
)
def test_statistics_that_are_wrong_are_named(take, tmp_path, monkeypatch, stats, message):
    monkeypatch.chdir(tmp_path)
    caches.lightningdit(tmp_path / "source")
    torch.save(stats, tmp_path / "source/latents_stats.pt")
    result, manifest = take("lightningdit", "--num-classes", "3")
    assert (result.exit_code, manifest) == (2, None)
    assert message in result.stderr
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(2, int)}, "must hold one of the arrays latents and moments, has none"),
        ({"latents": POSTERIOR[None]}, "holds no array labels"),
        ({"latents": POSTERIOR, "labels": np.zeros(8, int)}, "expected floats (N, channels, height, width)"),
        ({"moments": POSTERIOR[None, :3], "labels": np.zeros(1, int)}, "expected an even number"),
        ({"latents": POSTERIOR[None], "labels": np.zeros(2, int)}, "labels are int64 (2,) for 1 latents"),
        ({"latents": POSTERIOR[None], "labels": np.zeros(1)}, "labels are float64 (1,)"),
        ({"latents": POSTERIOR[None], "labels": np.array([-1])}, "image 0: its label is -1, but there are"),
        ({"latents": np.array([[[[Evil()]]]]), "labels": np.array([0])}, "Object arrays cannot be loaded"),
    ],
)  # fmt: skip
def test_an_npz_that_is_wrong_is_named(take, tmp_path, monkeypatch, arrays, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    np.savez(tmp_path / "source/train.npz", **arrays)
    result, manifest = take("npz", "--num-classes", "3", "--scaling-factor", "1")
    assert (result.exit_code, manifest) == (2, None)
    assert "train.npz: " in result.stderr
    assert message in result.stderr
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("keras", "source", "x"), "'keras' is not one of 'cerebras', 'fast-dit', 'lightningdit', 'npz'"),
        (("cerebras", "nowhere", "x"), "does not exist"),
        (("npz", "source", "x"), "is no .npz file, and has none named train.npz"),
        (("lightningdit", "source", "x"), "source: holds no .safetensors file"),
        (("cerebras", "source", "x"), "source: holds no folder of a class with .npz files"),
        (("fast-dit", "source", "x"), "source: has 0 folders *_features"),
        (("fast-dit", "source", "x", "--flipped", "source"), "fast-dit has no folders of mirrored images"),
    ],
)
def test_mistakes_are_one_line(invoke, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    result = invoke("import", "latents", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
