"""Caches of latents of other programs become stores that hold the same."""

import errno
import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dit_toolkit import stop
from dit_toolkit.datasets.latents import Latents
from dit_toolkit.latents.manifest import read_manifest
from dit_toolkit.random import Generator
from tests import caches
from tests.caches import SHAPE
from tests.data import save_kl


def stored(folder, split="train"):
    """What any reader of safetensors finds: latents (rows, versions, parts, C, h, w) and labels (rows,)."""
    found = load_file(folder / f"{split}.safetensors")
    return found["latents"].float().numpy(), found["labels"].numpy()


def seen(folder, split="train", mean=True, classes=3):
    """What a model sees of all rows, (rows, C, h, w)."""
    manifest = read_manifest(folder / "manifest.json")
    dataset = Latents(path=str(folder), image_size=manifest.image[1:], num_classes=classes)
    opened = dataset.open_latents(split, SHAPE)
    index = np.arange(len(opened))
    return opened.batch(index, None if mean else Generator(0, "train", index))[0].numpy()


@pytest.mark.parametrize("options", [(), ("--dtype", "float32"), ("--dtype", "bfloat16")])
def test_cerebras(take, tmp_path, invoke, options):
    posteriors = caches.cerebras(tmp_path / "source")
    result, manifest = take("cerebras", *options)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'store'}\n"), result.output
    assert (manifest.content, manifest.flip, manifest.scale) == ("moments", False, [pytest.approx(0.18215)])
    assert (manifest.class_names, manifest.image, manifest.latent) == (["n01", "n02", "n05"], (3, 32, 48), SHAPE)
    assert (manifest.autoencoder["path"], manifest.fingerprint) == ("stabilityai/sd-vae-ft-mse", None)
    close = {"rtol": 2e-7 if "float32" in options else 1e-2 if "bfloat16" in options else 1e-3, "atol": 1e-6}
    for split, posterior in posteriors.items():
        mean, log_variance = np.split(posterior, 2, axis=1)
        latents, labels = stored(tmp_path / "store", split)
        np.testing.assert_allclose(latents[:, 0, 0], mean, **close)
        np.testing.assert_allclose(latents[:, 0, 1], np.exp(log_variance.clip(-30, 20) / 2), **close)
        np.testing.assert_allclose(seen(tmp_path / "store", split), mean * 0.18215, **close)
        assert labels.tolist() == [0] * 3 + [1] * 2 + [2] * 4
    assert latents[0, 0, 1].max() == pytest.approx(np.exp(10), rel=close["rtol"])
    assert invoke("verify", tmp_path / "store").exit_code == 0
    assert "4 x 4 x 6, moments" in invoke("inspect", tmp_path / "store").stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "store"]


def test_mirrored_images_of_cerebras_are_a_tree_of_their_own(take, tmp_path):
    plain = caches.cerebras(tmp_path / "source")["train"]
    mirrored = caches.cerebras(tmp_path / "mirrored", seed=5)["train"]
    result, manifest = take("cerebras", "--flipped", tmp_path / "mirrored", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    assert manifest.flip
    latents, _ = stored(tmp_path / "store")
    for version, posterior in enumerate((plain, mirrored)):
        np.testing.assert_array_equal(latents[:, version, 0], posterior[:, : SHAPE[0]])
    (tmp_path / "mirrored/train/n05/n05_1.npz").unlink()
    result, _ = take("cerebras", "--flipped", tmp_path / "mirrored", out="other")
    assert "lacks mirrored images" in result.stderr
    assert "n05_1.npz" in result.stderr


def test_some_of_the_classes_go_by_a_table_of_all(take, tmp_path):
    caches.cerebras(tmp_path / "source", splits=("train",))
    (tmp_path / "classes.json").write_text(json.dumps({"n00": "tench", "n01": "cock", "n02": "hen", "n05": "ox"}))
    result, _ = take("cerebras", "--classes", tmp_path / "classes.json")
    assert "n01_0.npz: its label is 0, but its folder is number 1 of the classes by name" in result.stderr
    (tmp_path / "classes.json").write_text(json.dumps({"n01": "cock", "n02": "hen", "n05": "ox", "n09": "owl"}))
    result, manifest = take("cerebras", "--classes", tmp_path / "classes.json", out="other")
    assert result.exit_code == 0, result.output
    assert manifest.class_names == ["cock", "hen", "ox", "owl"]


def test_fast_dit_is_not_scaled_again(take, tmp_path, invoke):
    latents, labels = caches.fast_dit(tmp_path / "source")
    result, manifest = take("fast-dit", "--num-classes", "3", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    found, found_labels = stored(tmp_path / "store")
    np.testing.assert_array_equal(found[:, 0, 0], latents)  # file 10 behind file 9, not behind file 1
    np.testing.assert_array_equal(found_labels, labels)
    for mean in (True, False):
        np.testing.assert_array_equal(seen(tmp_path / "store", mean=mean), latents)
    assert (manifest.scale, manifest.content, list(manifest.splits)) == ([1.0], "sample", ["train"])
    assert invoke("verify", tmp_path / "store").exit_code == 0


def test_a_share_of_each_class_is_held_out(take, tmp_path):
    latents, _ = caches.fast_dit(tmp_path / "source")
    result, manifest = take("fast-dit", "--num-classes", "3", "--dtype", "float32", "--val-fraction", "0.25")
    assert result.exit_code == 0, result.output
    assert [manifest.splits[split].rows for split in ("train", "val")] == [9, 3]
    (train, _), (val, val_labels) = (stored(tmp_path / "store", split) for split in ("train", "val"))
    assert sorted(val_labels.tolist()) == [0, 1, 2]
    both = np.concatenate([train, val])[:, 0, 0]
    order = [int(np.flatnonzero((both == row).all((1, 2, 3)))[0]) for row in latents]
    assert sorted(order) == list(range(12))


@pytest.mark.parametrize("flip", [False, True])
def test_lightningdit_is_scaled_by_its_statistics(take, tmp_path, flip):
    versions, labels, mean, std = caches.lightningdit(tmp_path / "source", flip=flip)
    result, manifest = take("lightningdit", "--num-classes", "3", "--dtype", "float32", "--scaling-factor", "0.5")
    assert result.exit_code == 0, result.output
    found, found_labels = stored(tmp_path / "store")
    np.testing.assert_array_equal(found[:, :, 0], versions)
    np.testing.assert_array_equal(found_labels, labels)
    expected = (versions[:, 0] - mean[:, None, None]) / std[:, None, None] * 0.5
    np.testing.assert_allclose(seen(tmp_path / "store"), expected, rtol=1e-5, atol=1e-6)
    assert (manifest.flip, manifest.image, manifest.autoencoder) == (flip, (3, 64, 96), {"kind": "unknown"})


def test_val_of_lightningdit_is_scaled_by_the_statistics_of_train(take, tmp_path):
    versions, _, mean, std = caches.lightningdit(tmp_path / "source/train")
    caches.lightningdit(tmp_path / "source/val")
    torch.save({"mean": torch.ones(4), "std": torch.ones(4)}, tmp_path / "source/val/latents_stats.pt")
    result, _ = take("lightningdit", "--num-classes", "3", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    expected = (versions[:, 0] - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(seen(tmp_path / "store", "val"), expected, rtol=1e-5, atol=1e-6)


def test_lightningdit_without_statistics_is_multiplied(take, tmp_path):
    versions, *_ = caches.lightningdit(tmp_path / "source", stats=False)
    result, _ = take("lightningdit", "--num-classes", "3")
    assert "latents_stats.pt: no such file, so that it is not known how the latents are scaled" in result.stderr
    result, manifest = take("lightningdit", "--num-classes", "3", "--scaling-factor", "0.18215", "--dtype", "float32")
    assert (result.exit_code, manifest.scale) == (0, [pytest.approx(0.18215)]), result.output
    np.testing.assert_allclose(seen(tmp_path / "store"), versions[:, 0] * 0.18215, rtol=1e-6)


@pytest.mark.parametrize("moments", [False, True])
def test_npz(take, tmp_path, moments):
    (tmp_path / "source").mkdir()
    latents, labels = caches.npz(tmp_path / "source/train.npz", moments)
    result, _ = take("npz", "--num-classes", "3")
    assert "it is not known how its latents are scaled; give the scaling factor" in result.stderr
    result, manifest = take("npz", "--num-classes", "3", "--scaling-factor", "2", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    found, found_labels = stored(tmp_path / "store")
    np.testing.assert_array_equal(found.reshape(latents.shape), latents)
    np.testing.assert_array_equal(found_labels, labels)
    assert (manifest.content, manifest.scale) == ("moments" if moments else "sample", [2.0])


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return save_kl(tmp_path_factory.mktemp("kl") / "vae", scaling_factor=0.5)


def test_the_autoencoder_says_how_latents_are_scaled_and_how_large_images_are(take, tmp_path, vae, invoke):
    caches.cerebras(tmp_path / "source")
    result, manifest = take("cerebras", "--autoencoder", vae)
    assert result.exit_code == 0, result.output
    assert (manifest.image, manifest.scale) == ((3, 8, 12), [0.5])
    assert manifest.autoencoder == {**manifest.autoencoder, "path": str(vae), "downsampling": 2}
    assert len(manifest.fingerprint) == 64
    result = invoke("inspect", tmp_path / "store", "--out", tmp_path / "x.png", "--count", 2)
    assert result.exit_code == 0, result.output
    assert "warning: the images cannot be shown" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scaling-factor", "0.18215"), "are seen as z * 0.18215, but {vae} scales as z * 0.5"),
        (("--image-size", "32x48"), "latents of 4 x 6 cannot be those of images of 32 x 48"),
    ],
)
def test_an_autoencoder_that_does_not_fit_is_refused(take, tmp_path, vae, words, message):
    caches.cerebras(tmp_path / "source", splits=("train",))
    result, manifest = take("cerebras", "--autoencoder", vae, *words)
    assert (result.exit_code, manifest) == (2, None)
    assert message.format(vae=vae) in result.stderr


def test_a_cache_that_was_scaled_by_another_factor_is_refused(take, tmp_path, vae):
    caches.fast_dit(tmp_path / "source")
    result, _ = take("fast-dit", "--num-classes", "3", "--autoencoder", vae)
    assert "are seen as z * 0.18215, but" in result.stderr
    result, _ = take("fast-dit", "--num-classes", "3", "--autoencoder", vae, "--scaling-factor", "0.5")
    assert result.exit_code == 0, result.output


def test_the_size_of_images_where_the_autoencoder_is_not_here(take, tmp_path):
    caches.fast_dit(tmp_path / "source")
    words = ("fast-dit", "--num-classes", "3", "--image-size")
    for wrong in ("32x40", "33", "0", "x", "32x", "32x48x3", "large"):
        assert take(*words, wrong)[0].exit_code == 2
    result, manifest = take(*words, "16x24")
    assert result.exit_code == 0, result.output
    assert (manifest.image, manifest.autoencoder["downsampling"]) == ((3, 16, 24), 4)


def test_it_goes_on_where_it_was_and_never_twice(take, tmp_path, monkeypatch):
    caches.cerebras(tmp_path / "source")
    write, calls = os.pwrite, []

    def full(handle, data, offset):
        calls.append(offset)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    result, manifest = take("cerebras")
    assert (result.exit_code, manifest) == (5, None)
    assert "cannot be written (No space left on device)" in result.stderr
    monkeypatch.setattr(os, "pwrite", write)
    with monkeypatch.context() as patch:
        patch.setattr(stop, "requested", lambda: "SIGTERM")
        result, manifest = take("cerebras")
    assert (result.exit_code, manifest) == (3, None)
    assert "stopped by SIGTERM; the same command goes on from the last finished block" in result.stderr
    result, _ = take("cerebras")
    assert result.exit_code == 0, result.output
    assert take("cerebras", out="whole")[0].exit_code == 0
    for name in ("train.safetensors", "val.safetensors", "manifest.json"):
        assert (tmp_path / "store" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    result, _ = take("cerebras")
    assert (result.exit_code, "is complete already" in result.stderr) == (0, True)
    result, _ = take("cerebras", "--dtype", "float32")
    assert "holds other latents; give another name or remove it" in result.stderr
