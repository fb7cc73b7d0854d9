"""A store holds what was written, is read as the recipe means it, and says what is wrong with it."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from dit_toolkit import distributed
from dit_toolkit.datasets.arrays import Arrays
from dit_toolkit.datasets.latents import Latents
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.latents.manifest import read_manifest
from dit_toolkit.random import Generator
from dit_toolkit.recipe.structure import unstructure
from tests.data import write_store

MOMENTS = np.random.default_rng(0).normal(size=(10, 2, 2, 4, 8, 8)).astype(np.float32)
MOMENTS[:, :, 1] **= 2
SAMPLES = MOMENTS[:, :1, :1].astype(np.float16)
SHAPE = (4, 8, 8)


def dataset(path, **options):
    return Latents(path=str(path), **{"image_size": 16, "num_classes": 3, **options})


@pytest.fixture
def moments(tmp_path):
    return write_store(tmp_path / "moments", MOMENTS, scale=[0.5, 1.0, 2.0, 4.0], shift=[1.0, 0.0, -1.0, 0.0])


@pytest.fixture
def samples(tmp_path):
    return write_store(tmp_path / "samples", SAMPLES)


def test_any_reader_of_safetensors_reads_it(moments, samples):
    found = safetensors.torch.load_file(moments / "train.safetensors")
    assert torch.equal(found["latents"], torch.from_numpy(MOMENTS))
    assert found["labels"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert torch.equal(safetensors.torch.load_file(samples / "train.safetensors")["latents"], torch.from_numpy(SAMPLES))


def test_the_file_is_little_larger_than_its_latents(samples):
    assert (samples / "train.safetensors").stat().st_size - SAMPLES.nbytes <= 8192


def test_samples_are_given_as_they_are(samples):
    split = dataset(samples).open_latents("train", SHAPE)
    index = np.array([9, 0, 4])
    for generator in (None, Generator(0, "train", index)):
        x, y = split.batch(index, generator)
        assert torch.equal(x, torch.from_numpy(SAMPLES[index, 0, 0]).float())
        assert (x.dtype, y.tolist(), len(split)) == (torch.float32, [0, 0, 1], 10)


def test_scale_and_shift_are_applied_once(moments):
    x, _ = dataset(moments).open_latents("train", SHAPE).batch(np.arange(10))
    mean = torch.from_numpy(MOMENTS[:, 0, 0])
    assert torch.allclose(x[:, 0], (mean[:, 0] - 1) * 0.5)
    assert torch.allclose(x[:, 2], (mean[:, 2] + 1) * 2)


def test_each_reading_draws_from_the_posterior_of_image_or_mirrored_image(moments):
    split = dataset(moments).open_latents("train", SHAPE)
    generator = Generator(3, "train", np.arange(10))
    x, _ = split.batch(np.arange(10), Generator(3, "train", np.arange(10)))
    mirrored = (generator.rand() < 0.5).long()
    assert 0 < mirrored.sum() < 10
    chosen = torch.from_numpy(MOMENTS)[torch.arange(10), mirrored]  # (10, parts, C, h, w)
    z = chosen[:, 0] + chosen[:, 1] * generator.randn(*SHAPE)
    scale, shift = (torch.tensor(v).view(-1, 1, 1) for v in ([0.5, 1.0, 2.0, 4.0], [1.0, 0.0, -1.0, 0.0]))
    assert torch.allclose(x, (z - shift) * scale, atol=1e-6)


def test_many_readings_have_the_moments(tmp_path):
    store = write_store(tmp_path / "one", np.full((1, 1, 2, 4, 8, 8), 3.0, np.float16), scale=[2.0])
    split = dataset(store).open_latents("train", SHAPE)
    index = np.zeros(200, dtype=np.int64)
    x, _ = split.batch(index, Generator(0, "train", np.arange(200)))
    assert abs(float(x.mean()) - 6) < 0.05
    assert abs(float(x.std()) - 6) < 0.05
    assert torch.equal(split.batch(index[:2])[0], torch.full((2, *SHAPE), 6.0))


def test_an_item_does_not_depend_on_its_batch(moments):
    split = dataset(moments).open_latents("train", SHAPE)
    whole, _ = split.batch(np.arange(10), Generator(0, "train", np.arange(10)))
    one, _ = split.batch(np.array([7]), Generator(0, "train", np.array([7])))
    assert torch.equal(one[0], whole[7])


def test_bfloat16(tmp_path):
    values = torch.from_numpy(SAMPLES).bfloat16()
    store = write_store(tmp_path / "bf16", values.view(torch.int16).numpy(), dtype="bfloat16")
    x, _ = dataset(store).open_latents("train", SHAPE).batch(np.arange(10))
    assert torch.equal(x, values[:, 0, 0].float())
    assert torch.equal(safetensors.torch.load_file(store / "train.safetensors")["latents"], values)


def test_writing_to_a_batch_leaves_the_store(samples):
    split = dataset(samples).open_latents("train", SHAPE)
    before = (samples / "train.safetensors").read_bytes()
    split.batch(np.arange(10))[0].zero_()
    split.gather(np.arange(10)).zero_()
    assert torch.equal(split.batch(np.arange(10))[0], torch.from_numpy(SAMPLES[:, 0, 0]).float())
    assert (samples / "train.safetensors").read_bytes() == before


def test_names_come_from_the_store(samples, tmp_path):
    assert dataset(samples).class_names == ("a", "b", "c")
    assert dataset(tmp_path / "gone").class_names == ("0", "1", "2")
    assert dataset(samples, num_classes=5).class_names == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("options", "shape", "line"),
    [
        ({"image_size": 32}, SHAPE, "  image_size: [16, 16] there, [32, 32] in the recipe"),
        ({"image_size": (16, 24)}, SHAPE, "  image_size: [16, 16] there, [16, 24] in the recipe"),
        ({"channels": 1}, SHAPE, "  channels: 3 there, 1 in the recipe"),
        ({"num_classes": 4}, SHAPE, "  num_classes: 3 there, 4 in the recipe"),
        ({}, (16, 8, 8), "  shape of a latent: [4, 8, 8] there, [16, 8, 8] in the recipe"),
    ],
)
def test_a_recipe_that_differs_is_refused(samples, options, shape, line):
    with pytest.raises(DataError) as caught:
        dataset(samples, **options).open_latents("train", shape)
    assert caught.value.lines[1:] == (line,)


def test_images_that_are_not_there_are_said_to_be(samples):
    with pytest.raises(DataError, match="holds latents, no images: the images of its latents are not known"):
        dataset(samples).open("train")


def test_images_are_those_behind_the_latents_without_the_rows_that_were_left_out(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(12) % 3)
    source = Arrays(path=str(tmp_path / "x.npz"), image_size=16, num_classes=3, val_fraction=0.25)
    real = source.open("train")
    latents = np.zeros((len(real), 1, 1, 4, 8, 8), np.float16)
    store = write_store(tmp_path / "store", latents, real.labels, source=unstructure(source), image=(3, 16, 16))
    opened = dataset(store).open("train")
    assert torch.equal(opened.batch(np.arange(9))[0], real.batch(np.arange(9))[0])
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["splits"]["train"]["skipped"] = [{"row": 2, "reason": "torn"}]
    (store / "manifest.json").write_text(json.dumps(manifest))
    kept = dataset(store).open("train")
    assert (len(kept), kept.labels.tolist()) == (8, np.delete(real.labels, 2).tolist())
    assert torch.equal(kept.batch(np.array([1, 2]))[0], real.batch(np.array([1, 3]))[0])
    with pytest.raises(DataError, match="its store has no split 'val'; it has train"):
        dataset(store).open("val")
    np.savez(tmp_path / "x.npz", images=images[:9], labels=np.arange(9) % 3)
    with pytest.raises(DataError, match=r"the train split of its images has \d now, not 9 as when encoded"):
        dataset(store).open("train")


def test_a_store_that_is_not_there_or_not_complete(tmp_path, samples):
    with pytest.raises(MissingDataError, match="there are no latents in"):
        dataset(tmp_path).open_latents("train", SHAPE)
    (samples / "manifest.json").unlink()
    with pytest.raises(MissingDataError, match="there are no latents in"):
        dataset(samples).open_latents("train", SHAPE)


def test_a_split_that_is_not_there(samples):
    with pytest.raises(DataError, match="has no split val; it has train"):
        dataset(samples).open_latents("val", SHAPE)


@pytest.mark.parametrize("memory", ["ram", "device"])
@pytest.mark.parametrize("kind", ["moments", "samples"])
def test_it_is_the_same_wherever_it_is_held(request, kind, memory, capsys):
    store = request.getfixturevalue(kind)
    mapped, held = (dataset(store, **options).open_latents("train", SHAPE) for options in ({}, {"memory": memory}))
    index = np.array([3, 9, 0, 3])
    for generators in ((None, None), [Generator(0, "train", index) for _ in range(2)]):
        for one, other in zip(
            *(s.batch(index, g) for s, g in zip((mapped, held), generators, strict=True)), strict=True
        ):
            assert torch.equal(one, other)
    assert "GB of latents into RAM" in capsys.readouterr().err
    before = held.batch(index)[0].clone()
    (store / "train.safetensors").write_bytes(b"")
    assert torch.equal(held.batch(index)[0], before)


def test_memory_that_is_not_there_is_refused(samples, monkeypatch):
    monkeypatch.setattr(distributed, "free_memory", lambda device: 5_000)
    with pytest.raises(DataError, match=r'dataset.memory: .* memory = "mapped" needs none'):
        dataset(samples, memory="ram").open_latents("train", SHAPE)
    dataset(samples).open_latents("train", SHAPE)


def damage(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, r"has 9,215 bytes instead of 9,216; it is cut off"),
        (lambda path: damage(path, 20, b"X"), "its header is not that of the manifest"),
        (lambda path: damage(path, 4090, b"\1"), "its labels have changed"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_when_it_is_opened(samples, harm, message):
    harm(samples / "train.safetensors")
    with pytest.raises(DataError, match=rf"train\.safetensors: .*{message}"):
        dataset(samples).open_latents("train", SHAPE)


def test_labels_out_of_range_are_refused(tmp_path):
    store = write_store(tmp_path / "store", SAMPLES, labels=np.array([0, 1, 2, 3, 0, 0, 0, 0, 0, -1]))
    with pytest.raises(DataError, match="labels go from -1 to 3, but there are classes 0 to 2"):
        dataset(store).open_latents("train", SHAPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("latent"), "latent: missing"),
        (lambda m: m.update(format=2), "format"),
        (lambda m: m.update(dtype="float8"), "dtype: expected"),
        (lambda m: m.update(scale=[1.0, 2.0]), "scale must have 1 or 4 numbers, has 2"),
        (lambda m: m.update(surplus=1), "unknown key 'surplus'"),
        (lambda m: m.update(latent=[4, -8, 8]), "latent"),
        (lambda m: m["splits"]["train"].update(rows="10"), "splits.train.rows: expected int"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_name(samples, change, message):
    path = samples / "manifest.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0"])
def test_a_manifest_that_cannot_be_read(samples, text):
    (samples / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        dataset(samples).open_latents("train", SHAPE)
