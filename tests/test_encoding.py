"""A latent store is a function of data, autoencoder and options, whatever happens while it is written."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from PIL import Image

from dit_toolkit import stop
from dit_toolkit.autoencoders.identity import Identity
from dit_toolkit.autoencoders.kl import KL
from dit_toolkit.datasets.fashion import Fashion
from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.datasets.latents import Latents
from dit_toolkit.encoding import Options, encode
from dit_toolkit.errors import DataError, Interrupted, StorageError
from dit_toolkit.latents.manifest import read_manifest
from dit_toolkit.latents.writer import Block, StoreWriter
from dit_toolkit.random import Generator
from tests.data import image_tree, png, save_kl

OPTIONS = Options(block=4, batch_size=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoding")
    image_tree(root / "images")
    save_kl(root / "vae")
    return root


@pytest.fixture(scope="module")
def images(root):
    return ImageFolder(path=str(root / "images"), image_size=16, num_classes=3)


@pytest.fixture(scope="module")
def vae(root):
    return KL(path=str(root / "vae"), downsampling=2)


@pytest.fixture
def unreadable(tmp_path):
    """Eighteen images, of which the 4th, 5th and 8th cannot be read."""
    tree = image_tree(tmp_path / "images")
    for name in ("a/003", "a/004", "b/001"):
        (tree / f"train/{name}.jpg").write_bytes(b"")
    return ImageFolder(path=str(tree), image_size=16, num_classes=3)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def latents(path, split="train", **options):
    dataset = Latents(path=str(path), **{"image_size": 16, "num_classes": 3, **options})
    return dataset.open_latents(split, read_manifest(path / "manifest.json").latent)


def test_what_is_stored_is_what_the_autoencoder_makes(tmp_path, images, vae):
    encode(images, vae, tmp_path / "out", attrs.evolve(OPTIONS, dtype="float32", flip=True))
    codec, index = vae.load(), np.arange(18)
    x, y = images.open("train").batch(index)
    split = latents(tmp_path / "out")
    assert split.labels.tolist() == y.tolist()
    for mirrored, pixels in enumerate((x, x.flip(-1))):
        stored = split.gather(index, np.full(18, mirrored))
        for part, moments in enumerate(codec.moments(pixels)):
            torch.testing.assert_close(stored[:, part], moments, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(split.batch(index)[0], codec.encode(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        latents(tmp_path / "out", "val").batch(np.arange(6))[0],
        codec.encode(images.open("val").batch(np.arange(6))[0]),
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_sample_of_the_posterior_goes_by_the_image(tmp_path, images, vae):
    for name, block in (("one", 4), ("two", 7)):
        encode(images, vae, tmp_path / name, attrs.evolve(OPTIONS, sample=True, dtype="float32", block=block))
    index = np.arange(18)
    split, other = latents(tmp_path / "one"), latents(tmp_path / "two")
    x, _ = split.batch(index)
    assert torch.equal(x, split.batch(index, Generator(0, "train", index))[0])
    torch.testing.assert_close(x, other.batch(index)[0], atol=1e-5, rtol=1e-4)
    mean, std = vae.load().moments(images.open("train").batch(index)[0])
    noise = (x / 0.5 - mean) / std
    assert abs(float(noise.mean())) < 0.1
    assert abs(float(noise.std()) - 1) < 0.1


def test_grey_images_without_an_autoencoder(tmp_path):
    encode(Fashion(), Identity(), tmp_path / "out", Options(splits=["val"], batch_size=500))
    split = latents(tmp_path / "out", "val", image_size=32, channels=1, num_classes=10)
    index = np.array([1_499, 0, 3])
    torch.testing.assert_close(split.batch(index)[0], Fashion().open("val").batch(index)[0], atol=1e-3, rtol=0)
    assert len(split) == 1_500
    assert read_manifest(tmp_path / "out/manifest.json").class_names[9] == "Ankle boot"


def test_data_that_are_latents_already_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds latents already; give the images with --images DIR"):
        encode(Latents(path="x"), Identity(), tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("after", [1, 7])
def test_a_killed_encoding_goes_on_to_the_same_bytes(tmp_path, images, after):
    code = f"""
    import os, signal
    from pathlib import Path
    from dit_toolkit.autoencoders.identity import Identity
    from dit_toolkit.datasets.image_folder import ImageFolder
    from dit_toolkit.encoding import Options, encode
    from dit_toolkit.latents.writer import Block
    append, count = Block.append, 0
    def killed(self, rows, skipped):
        global count
        if count == {after}:
            append(self, rows[:1], [])  # a part of the batch reaches the disk
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        append(self, rows, skipped)
    Block.append = killed
    dataset = ImageFolder(path={images.path!r}, image_size=16, num_classes=3)
    encode(dataset, Identity(), Path({str(tmp_path / "killed")!r}), Options(block=4, batch_size=3))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "killed").exists()
    for name in ("killed", "whole"):
        encode(images, Identity(), tmp_path / name, OPTIONS)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def test_finished_blocks_are_not_encoded_again(tmp_path, images, monkeypatch):
    append, written = Block.append, []

    def stopping(self, rows, skipped):
        written.append((self.split, self.number))
        append(self, rows, skipped)
        if len(written) == 5:
            monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")

    monkeypatch.setattr(Block, "append", stopping)
    with pytest.raises(Interrupted, match="stopped by SIGTERM; the same command goes on"):
        encode(images, Identity(), tmp_path / "out", OPTIONS)
    monkeypatch.setattr(stop, "requested", lambda: None)
    encode(images, Identity(), tmp_path / "out", OPTIONS)
    assert written[:5] == [("train", 0)] * 2 + [("train", 1)] * 2 + [("train", 2)]
    assert ("train", 1) not in written[5:]
    assert ("train", 2) in written[5:]


def test_done_is_done(tmp_path, images, capsys):
    for _ in range(2):
        encode(images, Identity(), tmp_path / "out", OPTIONS)
    assert "out: is complete already" in capsys.readouterr().err


def test_another_encoding_in_the_same_place_is_refused_with_what_differs(tmp_path, images, monkeypatch):
    encode(images, Identity(), tmp_path / "out", OPTIONS)
    with pytest.raises(DataError) as caught:
        encode(images, Identity(), tmp_path / "out", attrs.evolve(OPTIONS, dtype="float32", flip=True))
    assert caught.value.lines[1:] == ("  flip: False there, True here", "  dtype: 'float16' there, 'float32' here")
    monkeypatch.setattr(stop, "requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted):
        encode(images, Identity(), tmp_path / "two", OPTIONS)
    with pytest.raises(DataError, match=r"two\.partial: holds other latents(.|\n)*batch_size: 3 there, 2 here"):
        encode(images, Identity(), tmp_path / "two", attrs.evolve(OPTIONS, batch_size=2))


def test_what_is_no_store_is_left_alone(tmp_path, images):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").touch()
    with pytest.raises(DataError, match="exists already and is no latent store"):
        encode(images, Identity(), tmp_path / "out", OPTIONS)
    (tmp_path / "out/precious").unlink()
    encode(images, Identity(), tmp_path / "out", OPTIONS)


def test_two_commands_at_once_are_refused(tmp_path, images):
    plan = []

    class Other(StoreWriter):
        def __init__(self, *words):
            super().__init__(*words)
            plan.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dit_toolkit.encoding.StoreWriter", Other)
        patch.setattr(stop, "requested", lambda: "SIGTERM")
        with pytest.raises(Interrupted):
            encode(images, Identity(), tmp_path / "out", OPTIONS)
    with plan[0].alone(), pytest.raises(DataError, match="another command is writing there"):
        encode(images, Identity(), tmp_path / "out", OPTIONS)


def test_a_block_is_taken_by_one_process_alone(tmp_path, images, monkeypatch):
    taken = []

    def look(self, rows, skipped):
        other = Block(self.store, self.split, self.number)
        with other.claim() as mine:
            taken.append(mine)

    append = Block.append
    monkeypatch.setattr(Block, "append", lambda *words: (look(*words), append(*words))[1])
    encode(images, Identity(), tmp_path / "out", OPTIONS)
    assert taken == [False] * len(taken) != []


def test_images_that_cannot_be_read_are_left_out_and_listed(tmp_path, unreadable, capsys):
    encode(unreadable, Identity(), tmp_path / "out", OPTIONS)
    entry = read_manifest(tmp_path / "out/manifest.json").splits["train"]
    assert [skip.row for skip in entry.skipped] == [3, 4, 7]
    assert "a/003.jpg: the file is empty" in entry.skipped[0].reason
    split, kept = latents(tmp_path / "out"), np.array([0, 1, 2, 5, 6, *range(8, 18)])
    assert split.labels.tolist() == unreadable.open("train").labels[kept].tolist()
    x, _ = unreadable.open("train").batch(kept)
    torch.testing.assert_close(split.batch(np.arange(15))[0], x, atol=1e-3, rtol=0)
    shown = capsys.readouterr().err
    assert "warning: left out: " in shown
    assert "3 images were left out, its manifest.json says why" in shown


def test_every_kind_of_file_that_is_no_picture_is_in_the_report(tmp_path):
    tree = image_tree(tmp_path / "images")
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    good = (tree / "train/a/000.jpg").read_bytes()
    bad = {
        "a/001.jpg": (b"", "the file is empty"),
        "a/002.jpg": (b"no picture", "not a readable image"),
        "a/003.jpg": (good[:200], "not a readable image"),
        "b/000.png": (png(60_000, 60_000), "not a readable image"),
        "b/001.png": (png(8, 8), "not a readable image"),
        "b/002.gif": (None, "an animation of 2 frames"),
        "c/000.tif": (None, "no known range"),
        "c/001.png": (None, "too narrow"),
    }
    for name, (data, _) in bad.items():
        path = tree / "train" / name
        path.with_suffix(".jpg").unlink()
        if data is not None:
            path.write_bytes(data)
    frames[0].save(tree / "train/b/002.gif", save_all=True, append_images=frames[1:])
    Image.new("F", (20, 20)).save(tree / "train/c/000.tif")
    Image.new("RGB", (600_000, 1)).save(tree / "train/c/001.png")
    Image.new("CMYK", (20, 20)).save(tree / "train/c/002.jpg")
    Image.new("I;16", (20, 20)).save(tree / "train/c/003.png")
    (tree / "train/c/003.jpg").unlink()
    encode(ImageFolder(path=str(tree), image_size=16, num_classes=3), Identity(), tmp_path / "out", OPTIONS)
    skipped = read_manifest(tmp_path / "out/manifest.json").splits["train"].skipped
    assert [skip.row for skip in skipped] == [1, 2, 3, 6, 7, 8, 12, 13]
    for skip, (name, (_, reason)) in zip(skipped, bad.items(), strict=True):
        assert f"{name}: " in skip.reason
        assert reason in skip.reason
    assert len(latents(tmp_path / "out")) == 10


def test_labels_that_are_no_classes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Fashion, "class_names", ("a", "b"))
    with pytest.raises(DataError, match="labels of val go from 0 to 9, but there are classes 0 to 1"):
        encode(Fashion(), Identity(), tmp_path / "out", Options(splits=["val"]))
    assert not (tmp_path / "out").exists()


def test_too_many_of_them_stop_it(tmp_path, unreadable):
    with pytest.raises(DataError, match=r"3 images cannot be read, more than the 2 .* the last: .*b/001\.jpg"):
        encode(unreadable, Identity(), tmp_path / "out", attrs.evolve(OPTIONS, max_skipped=2))
    assert not (tmp_path / "out").exists()


def test_no_readable_image_at_all_is_an_error(tmp_path, unreadable):
    for path in (tmp_path / "images/val").rglob("*.jpg"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"no image of val could be read; the first: .*000\.jpg"):
        encode(unreadable, Identity(), tmp_path / "out", OPTIONS)


def test_a_disk_that_fills_up_leaves_nothing_that_looks_complete(tmp_path, images, monkeypatch):
    write, calls = os.pwrite, []

    def full(handle, data, offset):
        calls.append(offset)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data[:100], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=r"train\.safetensors: cannot be written \(No space left on device\)"):
        encode(images, Identity(), tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(os, "pwrite", write)
    encode(images, Identity(), tmp_path / "out", OPTIONS)
    encode(images, Identity(), tmp_path / "other", OPTIONS)
    assert contents(tmp_path / "out") == contents(tmp_path / "other")


@pytest.mark.parametrize("name", ["train-000001.json", "manifest.json", "plan.json"])
def test_a_disk_that_is_full_for_what_is_not_latents(tmp_path, images, monkeypatch, name):
    replace = Path.replace

    def full(self, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match=r"cannot be written .*No space left on device"):
        encode(images, Identity(), tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Path, "replace", replace)
    encode(images, Identity(), tmp_path / "out", OPTIONS)
    encode(images, Identity(), tmp_path / "other", OPTIONS)
    assert contents(tmp_path / "out") == contents(tmp_path / "other")


def test_a_disk_without_room_is_refused_at_the_start(tmp_path, images, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000}))
    with pytest.raises(StorageError, match=r"[\d,]+ bytes are needed, 1,000 are free"):
        encode(images, Identity(), tmp_path / "out", OPTIONS)


def test_latents_that_are_not_finite_are_refused(tmp_path, images, vae, monkeypatch):
    codec = vae.load()
    codec.scale = codec.scale * 1e6
    monkeypatch.setattr(KL, "load", lambda self, device: codec)
    with pytest.raises(DataError, match="the latent of image 0 of train is not finite in float16; try --dtype float32"):
        encode(images, vae, tmp_path / "out", attrs.evolve(OPTIONS, sample=True))
