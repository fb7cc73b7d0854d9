"""Samples in files: functions of seed and number alone, whoever draws them and however often that is interrupted."""

import hashlib
import json
import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest

import dit_toolkit as dit
from dit_toolkit import files, stop
from dit_toolkit.drawing.draw import begun_with_other_settings
from dit_toolkit.images import read_folder, read_npz, to_uint8
from dit_toolkit.random import Generator
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.sampling import labels_of
from tests.drawing.adm import batches


@pytest.fixture(scope="module")
def trained(small_run):
    return dit.load(small_run[1], set=["sample.sampler.num_steps=2", "sample.cfg_scale=1.0"])


def settings(trained, **changes):
    return trained.with_sample(attrs.evolve(trained.recipe.sample, **changes))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def close(one, two):
    """Equal up to the rounding of batched kernels: a level of 255, and rarely."""
    differ = np.abs(one.astype(int) - two)
    return differ.max() <= 1 and (differ > 0).mean() < 0.001


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """The file that nothing disturbs."""
    return dit.sample(trained, tmp_path_factory.mktemp("whole") / "x.npz")


def test_numpy_and_an_evaluator_of_adm_read_it(trained, whole):
    with np.load(whole) as file:
        assert file.files == ["arr_0"]
        images = file["arr_0"]
    assert (images.dtype, images.shape) == (np.uint8, (20, 32, 32, 3))
    read = list(batches(whole, 7))
    assert [len(batch) for batch in read] == [7, 7, 6]
    assert (np.concatenate(read) == images).all()
    assert images.std() > 5
    assert not (images[0] == images[10]).all(), "two samples of a class have noise of their own"


def test_one_image_is_the_same_alone(trained, whole):
    alone = trained.sample(labels_of(trained.recipe)[13:14], index=[13])
    assert close(to_uint8(alone), read_npz(whole)[13:14])


@pytest.mark.parametrize("sizes", [{"batch_size": 7}, {"batch_size": 1}, {"decode_batch_size": 3}])
def test_sizes_of_batches_change_no_more_than_rounding(trained, whole, tmp_path, sizes):
    assert close(read_npz(dit.sample(settings(trained, **sizes), tmp_path / "x.npz")), read_npz(whole))


def test_wherever_it_is_killed_it_goes_on_to_the_same_bytes(trained, whole, tmp_path, monkeypatch):
    """What the disk holds after each change is what a process leaves that is killed then."""
    place, states = tmp_path / "place", tmp_path / "states"
    place.mkdir()
    changes = []

    def changed(operation, path, new=None):
        if place in path.parents or path == place:
            shutil.copytree(place, states / str(len(changes)))
            changes.append((operation, path))

    monkeypatch.setattr(files, "changed", changed)
    dit.sample(trained, place / "x.npz", png=place / "png")
    monkeypatch.undo()
    assert len(changes) > 3 * (20 + 3)
    drawn = []
    original = type(trained).sample

    def counted(self, labels, **options):
        drawn.append(len(labels))
        return original(self, labels, **options)

    monkeypatch.setattr(type(trained), "sample", counted)
    for state in sorted(states.iterdir(), key=lambda path: int(path.name))[::3]:
        kept = sum(len(np.load(path)) for path in (state / "x.npz.partial").glob("*.npy"))
        png = state / "x.npz.partial/png.json"
        if png.exists():
            png.write_text(json.dumps(str(state / "png")))  # It has moved.
        drawn.clear()
        if not (state / "x.npz").exists():
            dit.sample(trained, state / "x.npz", png=state / "png")
            assert sum(drawn) == 20 - kept
        assert digest(state / "x.npz") == digest(whole)
        assert (read_folder(state / "png") == read_npz(whole)).all()
        assert len(json.loads((state / "x.json").read_text())["labels"]) == 20


def interrupted(trained, path, monkeypatch, after, **options):
    """Draw until so many batches are begun."""
    begun = []

    def requested():
        begun.append(1)
        return "SIGTERM" if len(begun) >= after else None

    monkeypatch.setattr(stop, "requested", requested)
    with pytest.raises(dit.Interrupted, match="the same command goes on") as caught:
        dit.sample(trained, path, **options)
    monkeypatch.undo()
    assert caught.value.exit_code == 3
    return sorted(p.name for p in Path(f"{path}.partial").glob("*.npy"))


def test_another_size_of_batch_goes_on_with_the_parts(trained, whole, tmp_path, monkeypatch):
    names = interrupted(trained, tmp_path / "x.npz", monkeypatch, 1)
    assert [name[:19] for name in names] == ["000000000-000000008"]
    interrupted(settings(trained, batch_size=5), tmp_path / "x.npz", monkeypatch, 1)
    images = read_npz(dit.sample(settings(trained, batch_size=3), tmp_path / "x.npz"))
    assert (images[:8] == read_npz(whole)[:8]).all()
    assert close(images, read_npz(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.npz"]


def test_pngs_asked_for_later_are_written_from_the_parts(trained, whole, tmp_path, monkeypatch):
    interrupted(trained, tmp_path / "x.npz", monkeypatch, 2)
    dit.sample(trained, tmp_path / "x.npz", png=tmp_path / "png")
    assert (read_folder(tmp_path / "png") == read_npz(whole)).all()


def test_other_settings_are_neither_taken_nor_deleted(trained, tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    names = interrupted(trained, path, monkeypatch, 1)
    for changes, told in [
        ({"seed": 1}, "  seed: 0 there, 1 here"),
        ({"num_samples": 19}, "  num_samples: 20 there, 19"),
    ]:
        other = settings(trained, **changes)
        with pytest.raises(dit.DataError, match="holds samples with other settings; give another --out") as caught:
            dit.sample(other, path)
        assert any(line.startswith(told) for line in caught.value.lines)
        assert begun_with_other_settings(other, path)
    assert not begun_with_other_settings(settings(trained, batch_size=2), path)
    assert sorted(p.name for p in Path(f"{path}.partial").glob("*.npy")) == names


def test_images_that_are_no_numbers_are_told_by_number(trained, tmp_path):
    class Broken:
        def decode(self, latents):
            return latents * float("nan")

    with pytest.raises(dit.DataError, match="samples 0 to 7: 8 of 8 images hold NaN"):
        dit.sample(attrs.evolve(trained, codec=Broken()), tmp_path / "x.npz")
    assert list((tmp_path / "x.npz.partial").glob("*.npy")) == []


def test_what_cannot_be_drawn_leaves_nothing(trained, tmp_path):
    for other, message in [
        (settings(trained, labels=[3, 10]), "sample.labels: 10 is no class; there are 0 to 9"),
        (settings(trained, sampler=DDPMSampler()), "sample.sampler: "),
    ]:
        with pytest.raises(dit.RecipeError, match=message):
            dit.sample(other, tmp_path / "x.npz")
    (tmp_path / "png").mkdir()
    (tmp_path / "png/mine.txt").touch()
    with pytest.raises(dit.DataError, match=r"holds mine.txt"):
        dit.sample(trained, tmp_path / "x.npz", png=tmp_path / "png")
    assert [path.name for path in tmp_path.iterdir()] == ["png"]
    (tmp_path / "x.json").touch()
    with pytest.raises(dit.DataError, match=r"x.json: exists already"):
        dit.sample(trained, tmp_path / "x.npz")


def test_a_place_that_cannot_be_written(trained, tmp_path, monkeypatch):
    def refused(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(dit.StorageError, match=r"x.npz.partial: cannot be written \(Permission denied\)"):
        dit.sample(trained, tmp_path / "x.npz")


def test_the_file_beside_it_says_everything(trained, whole):
    facts = json.loads(whole.with_suffix(".json").read_text())
    options = {name: facts[name] for name in attrs.fields_dict(dit.Sample) if name not in ("labels", "sampler")}
    sample = trained.recipe.sample
    assert options == json.loads(json.dumps({name: getattr(sample, name) for name in options}))
    assert facts["sampler"]["num_steps"] == 2
    assert (facts["step"], facts["weights_sha256"], facts["guide_sha256"]) == (4, trained.digest, None)
    assert (facts["image"], facts["model"]["depth"], facts["objective"]["kind"]) == ([1, 32, 32], 2, "flow-matching")
    assert facts["parameters"] == 17_184
    assert facts["autoencoder"] == {"kind": "identity", "fingerprint": "identity"}
    assert facts["provenance"]["versions"]["torch"]
    assert facts["provenance"]["dit_toolkit"] == dit.__version__
    assert facts["labels"] == [i % 10 for i in range(20)]
    assert facts["class_names"] == list(trained.recipe.dataset.class_names)
    assert (facts["classes"], facts["fit_for_fid"], facts["unfit_for_fid"]) == (None, True, None)


def test_chosen_classes_are_marked_as_unfit_for_fid(trained, tmp_path):
    path = dit.sample(settings(trained, labels=[7, 2, 7], num_samples=5), tmp_path / "x.npz")
    facts = json.loads(path.with_suffix(".json").read_text())
    assert (facts["classes"], facts["labels"], facts["fit_for_fid"]) == ([7, 2, 7], [7, 2, 7, 7, 2], False)
    assert facts["unfit_for_fid"] == "labels: 2 of 10 classes were chosen, and a reference has all of them"


def test_random_labels_are_functions_of_seed_and_number(trained):
    def drawn(**changes):
        return labels_of(settings(trained, label_sampling="random", **changes).recipe)

    many = drawn(num_samples=20_000)
    counts = np.bincount(many, minlength=10)
    assert len(counts) == 10
    # The sum of (observed - expected)^2 / expected is chi-square with 9 degrees of freedom: above 40 once in 10^5.
    assert ((counts - 2_000) ** 2 / 2_000).sum() < 40
    assert (drawn(num_samples=500) == many[:500]).all()
    assert (drawn(num_samples=500, seed=1) != many[:500]).mean() > 0.8
    uniform = Generator(0, "labels", [17]).rand().item()
    assert many[17] == int(uniform * 10)
    assert set(drawn(labels=[3, 8], num_samples=100)) == {3, 8}


def test_names_of_classes_are_those_that_the_run_noted(small_run, tmp_path):
    names = [f"name {number}" for number in range(10)]
    shutil.copytree(small_run[1], tmp_path / "run")
    (tmp_path / "run/classes.json").write_text(json.dumps(names))
    [_, newest] = sorted((tmp_path / "run/checkpoints").glob("step-*"))
    assert dit.load(tmp_path / "run").class_names == dit.load(newest).class_names == tuple(names)
    for useless in ('["0","1"]', "{", json.dumps(list(map(str, range(10))))):
        (tmp_path / "run/classes.json").write_text(useless)
        assert dit.load(tmp_path / "run").class_names == tuple(small_run[0].dataset.class_names)
