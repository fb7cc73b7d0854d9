"""The training of an autoencoder: its loss in closed form, exact resumption, and a folder that the kind `kl` reads."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from dit_toolkit import checkpoint
from dit_toolkit.autoencoders.kl import KL
from dit_toolkit.errors import CheckpointError, DataError, Interrupted, RecipeError
from dit_toolkit.images import to_uint8
from dit_toolkit.nn.autoencoder import kl_divergence
from dit_toolkit.random import Generator
from dit_toolkit.recipe.autoencoder import AutoencoderRecipe
from dit_toolkit.recipe.load import apply, load_any_recipe, load_recipe
from dit_toolkit.run import run
from dit_toolkit.training.loop import train
from dit_toolkit.training.reconstruction import ReconstructionLoss
from tests.conftest import ROOT

PATH = ROOT / "recipes/vae-fashion.toml"
TINY = [
    "model.block_channels=[8,8,8]",
    "train.max_steps=4",
    "train.lr_warmup_steps=0",
    "train.lr_schedule=constant",
    "train.global_batch_size=4",
    "train.micro_batch_size=2",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "train.backend.kind=single",
]


def tiny(*changes):
    return load_any_recipe(PATH, set=[*TINY, *changes])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of a tiny autoencoder on few images: (recipe, folder)."""
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 3), np.uint8)
    np.savez(data / "x.npz", images=images, labels=np.arange(60) % 3)
    dataset = f'{{kind="arrays", path="{data / "x.npz"}", image_size=8, num_classes=3, val_fraction=0.2}}'
    recipe = tiny(f"dataset={dataset}")
    return recipe, run(recipe, name="vae", out=data / "run")


def fake(x0, latent=(4, 8, 8), error=0.25, mean=0.5, log_variance=-1.0, seen=None):
    """A model that is off by `error` everywhere, with one posterior for all."""

    def model(x, noise, y):
        if seen is not None:
            seen.append(noise)
        moments = (torch.full((len(x), *latent), value) for value in (mean, log_variance))
        return (x0 + error, *moments)

    return model


def test_the_divergence_is_the_closed_form_of_torch():
    mean, log_variance = torch.randn(3, 2, 4, 5, dtype=torch.float64), torch.randn(3, 2, 4, 5, dtype=torch.float64)
    right = torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(kl_divergence(mean, log_variance), right)
    assert kl_divergence(torch.zeros(1, 3), torch.zeros(1, 3)) == 0


@pytest.mark.parametrize(("distance", "expected"), [("l1", 0.25), ("l2", 0.0625)])
def test_the_loss_is_distance_and_weighted_divergence(distance, expected):
    loss = ReconstructionLoss(tiny(f"objective.distance={distance}", "objective.kl_weight=0.5"), "cpu")
    x0 = torch.rand(3, 1, 32, 32)
    divergence = 256 * (0.25 + math.exp(-1) - 1 + 1) / 2
    seen = loss(fake(x0), x0, torch.zeros(3), generator=Generator(0, "train", range(3)))
    torch.testing.assert_close(seen, torch.full((3,), expected + 0.5 * divergence / 1024))


def test_posterior_noise_belongs_to_the_sample():
    loss, x0, seen = ReconstructionLoss(tiny(), "cpu"), torch.rand(3, 1, 32, 32), []
    loss(fake(x0, seen=seen), x0, torch.zeros(3), generator=Generator(0, "train", [4, 5, 6]))
    loss(fake(x0[:1], seen=seen), x0[:1], torch.zeros(1), generator=Generator(0, "train", [6]))
    assert seen[0].shape == (3, 4, 8, 8)
    assert torch.equal(seen[0][2], seen[1][0])


def test_a_perceptual_term_is_added():
    plain, fashion = (
        ReconstructionLoss(tiny(*options), "cpu")
        for options in ([], ["objective.perceptual.network=fashion", "objective.perceptual.weight=2"])
    )
    x0 = torch.rand(2, 1, 32, 32)
    x = (x0 + 0.3).requires_grad_()
    added = fashion(fake(x, error=0.0), x0, torch.zeros(2)) - plain(fake(x, error=0.0), x0, torch.zeros(2))
    torch.testing.assert_close(added, 2 * fashion.perceptual(x, x0))
    assert (added > 0).all()
    assert torch.autograd.grad(added.sum(), x)[0].abs().sum() > 0
    assert torch.equal(fashion.perceptual(x0, x0), torch.zeros(2))
    assert not any(parameter.requires_grad for parameter in fashion.perceptual.parameters())


def test_vgg_features_are_those_of_torchvision(tmp_path):
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16().state_dict().items()}
    torch.manual_seed(0)
    state = {
        name: torch.randn(shape) * (2 / max(1, shape[1:].numel())) ** 0.5
        for name, shape in shapes.items()
        if name.startswith("features")
    }
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg.pth")
    save_file(state, tmp_path / "vgg.safetensors")
    x, target = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    found = []
    for name in ("vgg.pth", "vgg.safetensors"):
        loss = ReconstructionLoss(
            tiny(f'objective.perceptual={{network="vgg16", path="{tmp_path / name}"}}'), "cpu"
        ).perceptual
        found.append(loss(x, target))
    with torch.device("meta"):
        layers = vgg16().features
    layers.load_state_dict({name.removeprefix("features."): value for name, value in state.items()}, assign=True)
    normal = [
        ((image.repeat(1, 3, 1, 1) + 1) / 2 - torch.tensor([0.485, 0.456, 0.406]).view(-1, 1, 1))
        / torch.tensor([0.229, 0.224, 0.225]).view(-1, 1, 1)
        for image in (x, target)
    ]
    right = torch.zeros(2)
    with torch.no_grad():
        for index, layer in enumerate(layers[:30]):
            normal = [layer(features) for features in normal]
            if index in (3, 8, 15, 22, 29):
                one, other = (torch.nn.functional.normalize(features, dim=1) for features in normal)
                right += (one - other).square().sum(1).mean((1, 2))
    for seen in found:
        torch.testing.assert_close(seen, right, rtol=1e-3, atol=1e-5)


def test_a_perceptual_network_is_never_without_its_weights(tmp_path):
    with pytest.raises(RecipeError, match=r"objective\.perceptual\.path: path is missing: vgg16 needs the file"):
        tiny("objective.perceptual.network=vgg16")
    with pytest.raises(RecipeError, match=r"objective\.perceptual\.path: path must be left out"):
        tiny('objective.perceptual={network="fashion", path="x"}')
    missing = tiny('objective.perceptual={network="vgg16", path="gone.pth"}')
    with pytest.raises(DataError, match=r"objective\.perceptual\.path: gone\.pth is no file"):
        run(missing, name="x", out=tmp_path / "run")
    assert not checkpoint.checkpoints(tmp_path / "run/checkpoints")
    place = r"(?s)objective\.perceptual\.path: .*torchvision's VGG16"
    shape = r"of another shape: 0\.weight \(\(3,\) there, \(64, 3, 3, 3\) here\)"
    lacking = r"missing: 0\.bias, .* \(26 in all\)"
    for name, write, fault in (
        ("empty.pth", lambda path: path.write_bytes(b""), "cannot be read"),
        ("other.pth", lambda path: torch.save({"features.0.weight": torch.zeros(3)}, path), shape),
        ("other.safetensors", lambda path: save_file({"x": torch.zeros(3)}, path), lacking),
        ("text.safetensors", lambda path: path.write_text("nothing"), "cannot be read"),
    ):
        write(tmp_path / name)
        wrong = tiny(f'objective.perceptual={{network="vgg16", path="{tmp_path / name}"}}')
        with pytest.raises(DataError, match=place) as caught:
            ReconstructionLoss(wrong, "cpu")
        assert re.search(fault, str(caught.value))


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # By DeepSpeed.
@pytest.mark.parametrize(
    "options",
    [
        ["train.backend.kind=single"],
        ['train.backend={kind="deepspeed", zero_stage=2}', "train.precision=bf16"],
        ['train.backend={kind="deepspeed", zero_stage=3}'],
    ],
    ids=["single", "zero-2 in bf16", "zero-3"],
)
def test_a_run_goes_on_bit_for_bit(finished, tmp_path, options):
    whole = apply(finished[0], options)
    for folder, recipe in (("whole", whole), ("part", apply(whole, ["train.max_steps=2"])), ("part", whole)):
        (tmp_path / folder).mkdir(exist_ok=True)
        train(recipe, tmp_path / folder, files={}, resume=checkpoint.newest(tmp_path / folder / "checkpoints"))
    for name in ("ema", "raw"):
        one, other = (
            load_file(checkpoint.newest(tmp_path / run / "checkpoints") / f"{name}.safetensors")
            for run in ("whole", "part")
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_folder_is_read_by_the_kind_kl_and_scales_to_unit_latents(finished):
    recipe, folder = finished
    assert sorted(path.name for path in (folder / "autoencoder").iterdir()) == [
        "config.json", "diffusion_pytorch_model.safetensors", "measured.json", "reconstructions.png",
    ]  # fmt: skip
    codec = KL(path=str(folder / "autoencoder"), downsampling=4).load()
    train = recipe.dataset.open("train")
    x, _ = train.batch(np.arange(len(train)))
    mean, std = (moment.double() for moment in codec.moments(x))
    measured = json.loads((folder / "autoencoder/measured.json").read_text())
    whole = float((mean.square() + std.square()).mean() - mean.mean() ** 2) ** 0.5
    assert measured["mean"] == pytest.approx(float(mean.mean()), abs=1e-5)
    assert measured["std"] == pytest.approx(whole, rel=1e-5)
    assert [c["mean"] for c in measured["channels"]] == pytest.approx(mean.mean((0, 2, 3)).tolist(), abs=1e-5)
    config = json.loads((folder / "autoencoder/config.json").read_text())
    assert (config["scaling_factor"], config["shift_factor"]) == (1 / measured["std"], measured["mean"])
    drawn = torch.stack([codec.encode(x, Generator(seed, "x", range(len(x)))) for seed in range(20)])
    assert abs(float(drawn.mean())) < 0.02
    assert float(drawn.std()) == pytest.approx(1, abs=0.02)


def test_the_measured_psnr_is_that_of_the_folders_own_reconstructions(finished):
    recipe, folder = finished
    codec = KL(path=str(folder / "autoencoder"), downsampling=4).load()
    held_out = recipe.dataset.open("val")
    x, _ = held_out.batch(np.arange(len(held_out)))
    right, seen = (to_uint8(images).astype(np.float64) for images in (x, codec.decode(codec.encode(x))))
    measured = json.loads((folder / "autoencoder/measured.json").read_text())
    assert measured["psnr_of"] == f"{len(held_out)} images of val"
    assert measured["psnr"] == pytest.approx(10 * np.log10(255**2 / np.square(right - seen).mean()), abs=0.01)


def test_the_weights_are_the_averaged_ones(finished):
    _, folder = finished
    newest = checkpoint.newest(folder / "checkpoints")
    ema = load_file(newest / "ema.safetensors")
    written = load_file(folder / "autoencoder/diffusion_pytorch_model.safetensors")
    assert {f"kl.{name}" for name in written} == ema.keys()
    assert all(torch.equal(value, ema[f"kl.{name}"]) for name, value in written.items())
    assert any(not torch.equal(value, ema[name]) for name, value in load_file(newest / "raw.safetensors").items())


def test_a_folder_of_the_same_weights_stays_and_one_of_older_is_replaced(finished, tmp_path):
    recipe, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    before = (tmp_path / "run/autoencoder").stat().st_ino
    run(recipe, name="vae", out=tmp_path / "run")
    assert (tmp_path / "run/autoencoder").stat().st_ino == before
    run(apply(recipe, ["train.max_steps=5"]), name="vae", out=tmp_path / "run")
    assert json.loads((tmp_path / "run/autoencoder/measured.json").read_text())["step"] == 5
    assert not list((tmp_path / "run").glob(".autoencoder*"))
    assert (tmp_path / "run/report.html").read_text().count("PSNR") == 1


def test_measuring_stops_when_asked(finished, tmp_path, monkeypatch):
    recipe, folder = finished
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("autoencoder"))
    monkeypatch.setattr("dit_toolkit.stop.requested", lambda: "SIGTERM")
    with pytest.raises(Interrupted, match="the same command goes on"):
        run(recipe, name="vae", out=tmp_path / "run", stages=["sample"])
    assert not (tmp_path / "run/autoencoder").exists()


def test_there_is_no_stage_of_validation(tmp_path):
    with pytest.raises(RecipeError, match="--stage validate: an autoencoder is measured by --stage sample"):
        run(tiny(), name="x", out=tmp_path / "run", stages=["validate"])


def test_nothing_is_measured_before_training(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in it; train it first"):
        run(tiny(), name="x", out=tmp_path / "run", stages=["sample"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.kind=vae", r"model\.kind: expected 'autoencoder-kl'|model\.kind: .*autoencoder-kl"),
        ("objective.kind=ddpm", r"objective\.kind: .*reconstruction"),
        ("model.hidden_size=64", r"model: unknown key 'hidden_size'"),
        ("sample.num_samples=5", r"unknown key 'sample'"),
        ("model.block_channels=[]", r"model\.block_channels"),
        (
            "model.block_channels=[8,8,8,8,8,8,8]",
            r"model\.block_channels: .*64 must divide the height of images \(32\)",
        ),
        ("train.compile=true", r"train\.compile: must be false; it is for the blocks of a transformer"),
        ("train.activation_checkpointing=1", r"train\.activation_checkpointing: must be 0; it is for the blocks"),
        ("train.optimizer.kind=muon", r"train\.optimizer\.kind: 'muon' is for the blocks of a transformer"),
        ("train.sample_every=2", r"train\.sample_every: must be 0; an autoencoder is measured and shown when"),
        ("train.micro_batch_size=3", r"train\.micro_batch_size: \(3\) does not divide"),
        ('dataset={kind="latents", path="x"}', r"dataset\.kind: 'latents' holds latents; an autoencoder learns"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(change, message):
    with pytest.raises(RecipeError, match=message):
        tiny(change)


def test_a_model_without_its_kind_is_asked_for_it(tmp_path):
    (tmp_path / "x.toml").write_text(PATH.read_text().replace('kind = "autoencoder-kl"\n', ""))
    with pytest.raises(RecipeError, match=r"model\.kind: missing; expected 'autoencoder-kl'"):
        load_any_recipe(tmp_path / "x.toml")


def test_groups_of_the_norms_divide_the_channels():
    groups = {(128, 256, 512): 32, (16, 32): 16, (24, 36): 4, (7, 9): 1}
    for channels, expected in groups.items():
        assert tiny(f"model.block_channels={list(channels)}").model.norm_groups == expected


def test_without_diffusers_a_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(DataError, match=r"model\.kind: 'autoencoder-kl' needs the package diffusers .*\[vae\]"):
        run(tiny(), name="x", out=tmp_path / "run")


def test_commands_work_or_say_why_not(finished, tmp_path):
    from dit_toolkit.cli import cli

    _, folder = finished

    def invoke(*words):
        return CliRunner().invoke(cli, [str(word) for word in words])

    check = json.loads(invoke("check", PATH, "--json").stdout)
    assert check["latent"] == [4, 8, 8]
    assert "tokens" not in check
    assert invoke("show", PATH).stdout.startswith("plugins = []\nseed = 0\n\n[dataset]")
    needed = "error: model.kind: {} trains an autoencoder; here a Diffusion Transformer is needed\n"
    for command in (["flops", PATH], ["encode", PATH, "--out", tmp_path / "x"]):
        result = invoke(*command)
        assert (result.exit_code, result.stderr) == (2, needed.format(PATH))
    for command in (
        ["sample", folder, "--out", tmp_path / "x.npz"],
        ["export", folder, tmp_path / "x.safetensors"],
        ["compare", folder, "--samplers", "ddim:2", "--out", tmp_path / "c"],
    ):
        result = invoke(*command)
        assert result.exit_code == 2, command
        assert result.stderr.startswith(
            "error: model.kind: this is the run of an autoencoder; the folder `autoencoder`"
        )


def test_the_public_function_refuses_too():
    with pytest.raises(RecipeError, match="trains an autoencoder; here a Diffusion Transformer is needed"):
        load_recipe(PATH)
    assert isinstance(load_any_recipe(PATH), AutoencoderRecipe)
