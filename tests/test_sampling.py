import json

import attrs
import numpy as np
import pytest
import torch

import dit_toolkit as dit
from dit_toolkit import checkpoint
from dit_toolkit.datasets.fashion import Fashion
from dit_toolkit.drawing.facts import describe
from dit_toolkit.images import read_npz
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.sampling import labels_of
from tests.conftest import ROOT, SMALL
from tests.data import save_kl


@pytest.fixture(scope="module")
def trained(small_run):
    return dit.load(small_run[1])


def settings(trained, **changes):
    return trained.with_sample(attrs.evolve(trained.recipe.sample, **changes))


def changed(trained, table, **changes):
    part = attrs.evolve(getattr(trained.recipe, table), **changes)
    return attrs.evolve(trained, recipe=attrs.evolve(trained.recipe, **{table: part}))


def drawn(trained, path):
    return read_npz(dit.sample(trained, path))


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


def test_labels_in_turn(trained):
    assert labels_of(settings(trained, labels=[2, 7], num_samples=5).recipe).tolist() == [2, 7, 2, 7, 2]


def test_guidance_and_weights_change_the_images(trained, small_run):
    plain, guided = (trained.sample([3], cfg_scale=scale) for scale in (1.0, 6.0))
    assert not torch.equal(plain, guided)
    raw = dit.load(small_run[1], weights="raw")
    assert raw.weights == "raw"
    assert not torch.equal(raw.sample([3], cfg_scale=1.0), plain)
    assert torch.equal(plain, trained.sample([3], cfg_scale=1.0))


def test_a_further_average_is_weights_of_its_own(trained, small_run):
    other = dit.load(small_run[1], weights="ema-0.05")
    assert other.weights == "ema-0.05"
    assert not torch.equal(other.sample([3], cfg_scale=1.0), trained.sample([3], cfg_scale=1.0))
    assert other.digest not in (trained.digest, dit.load(small_run[1], weights="raw").digest)
    with pytest.raises(dit.CheckpointError, match=r"has no weights 'ema-0\.7'; there are ema, ema-0\.05, raw"):
        dit.load(small_run[1], weights="ema-0.7")


def test_both_passes_apart_give_the_same_images(trained):
    joint, separate = (trained.sample([3, 5], cfg_scale=4.0, cfg_passes=passes) for passes in ("joint", "separate"))
    torch.testing.assert_close(joint, separate, rtol=1e-3, atol=1e-4)


def test_settings_of_one_call_are_those_of_the_recipe(trained):
    inside = trained.sample([3], cfg_scale=4.0, cfg_interval=(0.2, 0.6))
    recipe = settings(trained, cfg_scale=4.0, cfg_interval=(0.2, 0.6), seed=trained.recipe.sample.seed)
    assert torch.equal(inside, recipe.sample([3]))
    assert not torch.equal(inside, trained.sample([3], cfg_scale=4.0))
    with pytest.raises(TypeError, match="num_samples: no setting of one call; there are sampler, seed, cfg_scale"):
        trained.sample([3], num_samples=3)
    with pytest.raises(dit.RecipeError, match=r"sample.cfg_scale: .* must be >= 0: -1"):
        trained.sample([3], cfg_scale=-1)
    with pytest.raises(dit.RecipeError, match=r"sample.cfg_interval: cfg_interval \[0.8, 0.2\] holds no time"):
        trained.sample([3], cfg_interval=(0.8, 0.2))


def test_an_earlier_checkpoint_guides(trained, small_run):
    older, newest = checkpoint.checkpoints(small_run[1] / "checkpoints")
    weak, x = dit.load(older), torch.randn(2, 1, 32, 32)
    here, there = (model.denoiser([3, 4], cfg_scale=1.0)(x, 0.5).x0 for model in (trained, weak))
    guided = settings(trained, guide=str(older), cfg_scale=3.0)
    found = guided.denoiser([3, 4])(x, 0.5).x0
    torch.testing.assert_close(found, there + 3.0 * (here - there), rtol=1e-3, atol=1e-4)
    assert torch.equal(found, trained.denoiser([3, 4], guide=weak, cfg_scale=3.0)(x, 0.5).x0)
    itself = settings(trained, guide=str(newest), cfg_scale=3.0)
    torch.testing.assert_close(itself.sample([3]), trained.sample([3], cfg_scale=1.0), rtol=1e-3, atol=1e-4)
    assert describe(guided)["guide_sha256"] == weak.digest
    assert describe(settings(guided, cfg_scale=1.0))["guide_sha256"] is None


def test_a_guide_needs_no_null_class_but_the_same_latents_classes_and_clock(trained):
    bare = changed(settings(trained, cfg_scale=1.0), "model", class_dropout_prob=0.0)
    assert bare.sample([3], cfg_scale=2.0, guide=trained).isfinite().all()
    other = attrs.evolve(trained, recipe=attrs.evolve(trained.recipe, objective=DDPM(), dataset=Fashion(image_size=28)))
    other = changed(other, "model", num_classes=12)
    small = attrs.evolve(other.recipe.model.patchifier, patch_size=4)
    with pytest.raises(dit.RecipeError) as error:
        trained.denoiser([3], cfg_scale=2.0, guide=changed(other, "model", patchifier=small))
    assert error.value.lines == (
        "sample.guide: its latents are (1, 28, 28) (channels, height, width), those of this model (1, 32, 32)",
        "sample.guide: it has 12 classes, this model 10",
        "sample.guide: its objective 'ddpm' has other noise at a time than 'flow-matching' here",
    )
    with pytest.raises(dit.CheckpointError, match=r"sample.guide: nowhere: no such"):
        settings(trained, guide="nowhere", cfg_scale=2.0).sample([3])


@pytest.mark.parametrize(("sampler", "calls", "most"), [(Euler(num_steps=4), 4, 4), (Heun(num_steps=4), 7, 8)])
def test_every_evaluation_is_shown(trained, sampler, calls, most):
    seen = []
    images = trained.sample([3, 4], sampler=sampler, cfg_scale=2.0, callback=lambda *each: seen.append(each))
    assert [(i, n) for i, n, _ in seen] == [(i, most) for i in range(1, calls + 1)]
    assert torch.equal(images, trained.sample([3, 4], sampler=sampler, cfg_scale=2.0))
    torch.testing.assert_close(seen[-1][2], images, rtol=1e-3, atol=1e-4)  # the last step takes the data predicted
    frames = trained.sample([3, 4], sampler=sampler, cfg_scale=2.0, trajectory=True)
    assert len(frames) == calls + 1
    assert torch.equal(frames[-1], images)
    assert all(torch.equal(frame, x0) for frame, (_, _, x0) in zip(frames, seen, strict=False))


def test_an_error_in_a_callback_is_the_users(trained):
    with pytest.raises(ZeroDivisionError):
        trained.sample([3], callback=lambda i, n, x0: 1 / 0)


class Decoder:
    """Counts what is decoded at once."""

    def __init__(self, codec):
        self.codec, self.sizes = codec, []

    def decode(self, latents):
        self.sizes.append(len(latents))
        return self.codec.decode(latents)


def test_a_batch_is_decoded_in_smaller_ones(trained):
    few = attrs.evolve(settings(trained, decode_batch_size=3), codec=Decoder(trained.codec))
    assert torch.equal(few.sample(range(8)), trained.sample(range(8)))
    assert few.codec.sizes == [3, 3, 2]
    assert few.sample([]).shape == (0, 1, 32, 32)


@pytest.fixture(scope="module")
def latent_run(tmp_path_factory):
    """A run of a small model of latents, with the folder of its autoencoder."""
    folder = tmp_path_factory.mktemp("latent")
    save_kl(folder / "vae")
    recipe = dit.load_recipe(
        ROOT / "recipes/fashion.toml",
        set=[
            *SMALL,
            "dataset={kind='synthetic',image_size=48,num_classes=10,num_images=20}",
            f"autoencoder={{kind='kl',path='{folder / 'vae'}',downsampling=2}}",
            "train.max_steps=2",
            "evaluate.metrics=[]",
        ],
    )
    return dit.train(recipe, out=folder / "run"), folder / "vae"


def test_tiles_and_slices_of_the_autoencoder_can_be_asked_for_when_sampling(latent_run, tmp_path):
    run, vae = latent_run
    whole, tiled = (dit.load(run, set=[f"autoencoder.tiling={word}"]) for word in ("false", "true"))
    assert tiled.codec.model.use_tiling
    assert not whole.codec.model.use_tiling
    one, other = (model.sample([3, 4]) for model in (whole, tiled))
    assert one.shape == other.shape == (2, 3, 48, 48)
    assert not torch.equal(one, other)  # The overlaps are blended.
    torch.testing.assert_close(
        dit.load(run, set=["autoencoder.slicing=true"]).sample([3, 4]), one, rtol=1e-4, atol=1e-4
    )
    moved = vae.rename(tmp_path / "moved")
    with pytest.raises(dit.DataError, match=r"autoencoder\.path"):
        dit.load(run)
    assert torch.equal(dit.load(run, set=[f"autoencoder.path={moved}"]).sample([3, 4]), one)
    facts = describe(dit.load(run, set=[f"autoencoder.path={moved}"]))["autoencoder"]
    assert facts["path"] == str(moved)
    assert len(facts["fingerprint"]) == 64
    moved.rename(vae)


def test_settings_choose_the_weights_and_are_checked(small_run):
    assert dit.load(small_run[1], set=["sample.weights=raw"]).weights == "raw"
    assert dit.load(small_run[1], set=["sample.weights=raw"], weights="ema").weights == "ema"
    for text, fault in [
        ("num_samples=0", "must be >= 1"),
        ("batch_size=-1", "must be >= 1"),
        ("seed=-1", "must be >= 0"),
    ]:
        with pytest.raises(dit.RecipeError, match=rf"sample\.{text.split('=')[0]}: .*{fault}"):
            dit.load(small_run[1], set=[f"sample.{text}"])


def test_wrong_labels_and_missing_null_class_are_refused(trained):
    with pytest.raises(dit.RecipeError, match="labels: must be 0 to 9"):
        trained.sample([11])
    bare = changed(trained, "model", class_dropout_prob=0.0)
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
