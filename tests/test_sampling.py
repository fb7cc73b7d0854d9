import json

import attrs
import numpy as np
import pytest
import torch

import dit_toolkit as dit
from dit_toolkit import checkpoint
from dit_toolkit.images import read_npz
from dit_toolkit.sampling import labels_of, sample_to_file


@pytest.fixture(scope="module")
def trained(small_run):
    return dit.load(small_run[1])


def settings(trained, **changes):
    return trained.with_sample(attrs.evolve(trained.recipe.sample, **changes))


def drawn(trained, path):
    sample_to_file(trained, path)
    return read_npz(path)


def test_a_run_leaves_what_it_promises(small_run):
    recipe, folder = small_run
    [place] = (folder / "samples").iterdir()
    images = read_npz(place / "samples.npz")
    assert images.shape == (20, 32, 32, 3)
    with np.load(place / "samples.npz") as file:
        assert file.files == ["arr_0"]
    facts = json.loads((place / "samples.json").read_text())
    assert facts["labels"] == [i % 10 for i in range(20)]
    assert facts["sampler"]["kind"] == recipe.sample.sampler.kind
    assert json.loads((place / "evaluation.json").read_text())["scores"].keys() == {
        "class-accuracy",
        "fd-fashion",
        "memorisation",
    }
    for name in ("recipe.toml", "provenance.json", "metrics.jsonl", "report.html"):
        assert (folder / name).stat().st_size > 0
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["components"]["model.block"]["distribution"] == "dit-toolkit"


def test_the_same_images_whatever_the_batch(trained, tmp_path):
    whole = drawn(settings(trained, batch_size=20), tmp_path / "a.npz")
    parts = drawn(settings(trained, batch_size=7), tmp_path / "b.npz")
    assert np.abs(whole.astype(int) - parts).max() <= 1
    assert (whole != parts).mean() < 0.001
    other = drawn(settings(trained, seed=1), tmp_path / "c.npz")
    assert (whole != other).mean() > 0.3


def test_finished_batches_survive_a_kill(trained, tmp_path, monkeypatch):
    firsts = []
    original = type(trained).sample

    def counted(self, labels, *, index, **kwargs):
        firsts.append(index[0])
        if len(firsts) == 3:
            raise KeyboardInterrupt
        return original(self, labels, index=index, **kwargs)

    monkeypatch.setattr(type(trained), "sample", counted)
    with pytest.raises(KeyboardInterrupt):
        sample_to_file(trained, tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()
    images = drawn(trained, tmp_path / "a.npz")
    assert firsts == [0, 8, 16, 16]
    assert images.shape == (20, 32, 32, 3)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_labels_in_turn(trained):
    assert labels_of(settings(trained, labels=[2, 7], num_samples=5).recipe).tolist() == [2, 7, 2, 7, 2]


def test_guidance_and_weights_change_the_images(trained, small_run):
    plain, guided = (trained.sample([3], cfg_scale=scale) for scale in (1.0, 6.0))
    assert not torch.equal(plain, guided)
    raw = dit.load(small_run[1], weights="raw")
    assert raw.weights == "raw"
    assert not torch.equal(raw.sample([3], cfg_scale=1.0), plain)
    assert torch.equal(plain, trained.sample([3], cfg_scale=1.0))


def test_wrong_labels_and_missing_null_class_are_refused(trained):
    with pytest.raises(dit.RecipeError, match="labels: must be 0 to 9"):
        trained.sample([11])
    bare = attrs.evolve(
        trained, recipe=attrs.evolve(trained.recipe, model=attrs.evolve(trained.recipe.model, class_dropout_prob=0.0))
    )
    with pytest.raises(dit.RecipeError, match="class_dropout_prob"):
        bare.denoiser([1], cfg_scale=2.0)


def test_missing_and_damaged_checkpoints_are_named(small_run, tmp_path):
    with pytest.raises(dit.CheckpointError, match="no such run"):
        dit.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(dit.CheckpointError, match="no checkpoint in it"):
        dit.load(tmp_path / "empty")
    [older, newest] = checkpoint.checkpoints(small_run[1] / "checkpoints")
    copy = tmp_path / "checkpoints"
    for path in (older, newest):
        for file in path.rglob("*"):
            if file.is_file():
                target = copy / path.name / file.relative_to(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    (copy / newest.name / "ema.safetensors").write_bytes(b"short")
    with pytest.raises(
        dit.CheckpointError, match=rf"{newest.name} is damaged: ema.safetensors has 5 bytes.*{older.name}"
    ):
        dit.load(copy / newest.name)
    assert dit.load(tmp_path).step == 2


def test_model_is_the_network_of_the_recipe(trained):
    x, t, y = torch.randn(2, 1, 32, 32), torch.tensor([1.0, 2.0]), torch.tensor([0, 10])
    assert trained.model(x, t, y).shape[0] == 2
    assert not trained.model.training
