"""The autoencoders of diffusers, with small random models: read once, scaled once, and never made up."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dit_toolkit.autoencoders.dc import DC
from dit_toolkit.autoencoders.kl import KL
from dit_toolkit.autoencoders.tiny import Tiny
from dit_toolkit.components import PosteriorCodec
from dit_toolkit.errors import DataError
from dit_toolkit.random import Generator
from dit_toolkit.testing.inputs import images
from tests.data import save_dc, save_kl, save_tiny

KINDS = {
    "kl": (KL, save_kl, {"downsampling": 2}),
    "tiny": (Tiny, save_tiny, {"downsampling": 4}),
    "dc": (DC, save_dc, {"downsampling": 4, "latent_channels": 8}),
}
X = images(3, 3, 32, 24)


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """A kind, the folder of its weights, and its options."""
    cls, save, options = KINDS[request.param]
    folder = save(tmp_path_factory.mktemp("autoencoders") / request.param, scaling_factor=0.25)
    return cls, folder, options


def load(made, **options):
    cls, folder, given = made
    return cls(**{"path": str(folder), **given, **options})


def edited(folder, tmp_path, change):
    """A copy of an autoencoder, its config changed."""
    import shutil

    copy = tmp_path / "edited"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def raw(codec, x):
    """Diffusers' own latents, unscaled."""
    with torch.no_grad():
        out = codec.model.encode(x)
    return (
        out.latent_dist.mean
        if hasattr(out, "latent_dist")
        else getattr(out, "latents", None)
        if hasattr(out, "latents")
        else out.latent
    )


def test_latents_are_scaled_once_and_back(made):
    codec = load(made).load()
    z = raw(codec, X)
    torch.testing.assert_close(codec.encode(X), z * 0.25)
    with torch.no_grad():
        torch.testing.assert_close(codec.decode(z * 0.25), codec.model.decode(z).sample, atol=1e-4, rtol=1e-4)


def test_shapes_follow_from_the_options(made):
    component = load(made)
    assert component.latent_shape((3, 32, 24)) == tuple(component.load().encode(X).shape[1:])
    with pytest.raises(ValueError, match=r"downsampling .* does not divide the height of images"):
        component.latent_shape((3, 33, 32))
    with pytest.raises(ValueError, match="takes RGB images; these have 1 channel"):
        component.latent_shape((1, 32, 32))


def test_no_weight_is_trained_or_changed(made):
    codec = load(made).load()
    assert not any(parameter.requires_grad for parameter in codec.model.parameters())
    assert not codec.model.training
    assert not codec.encode(X).requires_grad


def test_slicing_changes_nothing(made):
    torch.testing.assert_close(
        load(made, slicing=True).load().encode(X), load(made).load().encode(X), atol=1e-5, rtol=1e-4
    )


def test_tiling_is_switched_on(made):
    assert load(made, tiling=True).load().model.use_tiling
    assert not load(made).load().model.use_tiling


def test_bf16_is_near_float32(made):
    half, full = (load(made, precision=precision).load() for precision in ("bf16", "fp32"))
    assert next(half.model.parameters()).dtype == torch.bfloat16
    z = half.encode(X)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z, full.encode(X), atol=0.05, rtol=0.1)
    assert half.decode(z).dtype == torch.float32


def test_only_a_posterior_is_drawn_from(made):
    codec, generator = load(made).load(), Generator(0, "x", [1, 2, 3])
    drawn, mode = codec.encode(X, generator), codec.encode(X)
    assert isinstance(codec, PosteriorCodec) == (made[0] is KL)
    if made[0] is KL:
        mean, std = codec.moments(X)
        noise = Generator(0, "x", [1, 2, 3]).randn(*mean.shape[1:])
        torch.testing.assert_close(drawn, (mean + std * noise) * 0.25)
    else:
        assert torch.equal(drawn, mode)


def test_shift_and_scale_of_each_channel(tmp_path):
    shift, std = [0.5, -1.0, 0.0, 2.0], [2.0, 1.0, 4.0, 0.5]
    folder = save_kl(tmp_path / "vae", scaling_factor=3.0, latents_mean=shift, latents_std=std)
    codec = KL(path=str(folder), downsampling=2).load()
    expected = (raw(codec, X) - torch.tensor(shift).view(-1, 1, 1)) * 3 / torch.tensor(std).view(-1, 1, 1)
    torch.testing.assert_close(codec.encode(X), expected)
    folder = save_kl(tmp_path / "shifted", scaling_factor=3.0, shift_factor=0.5)
    codec = KL(path=str(folder), downsampling=2).load()
    torch.testing.assert_close(codec.encode(X), (raw(codec, X) - 0.5) * 3)


def test_the_fingerprint_is_of_weights_and_scaling(made, tmp_path):
    cls, folder, options = made
    mark = load(made).fingerprint()
    assert len(mark) == 64
    assert load(made, precision="bf16", slicing=True).fingerprint() == mark
    again = edited(folder, tmp_path, lambda config: config.update(sample_size=64))
    assert cls(path=str(again), **options).fingerprint() == mark
    config = json.loads((again / "config.json").read_text())
    (again / "config.json").write_text(json.dumps({**config, "scaling_factor": 0.5}))
    assert cls(path=str(again), **options).fingerprint() != mark
    (again / "config.json").write_text(json.dumps(config))
    name = next(again.glob("*.safetensors"))
    weights = load_file(name)
    first = next(key for key, value in weights.items() if value.is_floating_point())
    save_file({**weights, first: weights[first] + 1}, name, metadata={"format": "pt"})
    assert cls(path=str(again), **options).fingerprint() != mark


def test_other_latents_than_the_options_say_are_refused(made):
    cls, folder, options = made
    with pytest.raises(DataError, match=rf"set latent_channels = \d+ and downsampling = {options['downsampling']} "):
        cls(path=str(folder), latent_channels=3, downsampling=16).load()


def test_grey_images_are_an_option_that_is_held_against_the_config(tmp_path):
    folder = str(save_kl(tmp_path / "grey", in_channels=1, out_channels=1))
    grey = KL(path=folder, downsampling=2, channels=1)
    x = images(3, 1, 32, 24)
    assert grey.latent_shape((1, 32, 24)) == (4, 16, 12)
    assert grey.load().decode(grey.load().encode(x)).shape == x.shape
    with pytest.raises(ValueError, match="takes grey images; these have 3 channels"):
        grey.latent_shape((3, 32, 24))
    with pytest.raises(DataError, match=r"takes images of 1 channels; set channels = 1 \(now 3\)"):
        KL(path=folder, downsampling=2).load()


def test_missing_weights_are_an_error_and_never_random(made, tmp_path):
    cls, folder, options = made
    copy = edited(folder, tmp_path, lambda config: None)
    file = next(copy.glob("*.safetensors"))
    weights = load_file(file)
    dropped = sorted(weights)[0]
    save_file({name: value for name, value in weights.items() if name != dropped}, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=rf"weights that do not fit: {dropped}"):
        cls(path=str(copy), **options).load()
    file.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read as a diffusers"):
        cls(path=str(copy), **options).load()
    file.unlink()
    for broken in (cls(path=str(copy), **options), cls(path=str(tmp_path), **options), cls(path="./gone", **options)):
        with pytest.raises(DataError, match=r"autoencoder\.path: "):
            broken.load()
        assert broken.fingerprint() is None


def test_a_pickle_is_never_loaded(made, tmp_path):
    cls, folder, options = made
    copy = edited(folder, tmp_path, lambda config: None)
    file = next(copy.glob("*.safetensors"))
    torch.save(load_file(file), copy / "diffusion_pytorch_model.bin")
    file.unlink()
    with pytest.raises(DataError, match="cannot be read as a diffusers"):
        cls(path=str(copy), **options).load()


def test_another_kind_of_autoencoder_is_refused(made, tmp_path):
    cls, folder, options = made
    other = edited(folder, tmp_path, lambda config: config.update(_class_name="VQModel"))
    with pytest.raises(DataError, match=r"a config of VQModel|cannot be read as a diffusers"):
        cls(path=str(other), **options).load()


def test_a_name_on_the_hub_without_a_network(made):
    cls, _, options = made
    with pytest.raises(
        DataError, match=r"is no folder here and cannot be had from the hub(.|\n)*hf download owner/name"
    ):
        cls(path="owner/name", **options).load()


def test_the_folder_of_a_whole_pipeline_will_do(tmp_path):
    save_kl(tmp_path / "pipeline" / "vae")
    assert KL(path=str(tmp_path / "pipeline"), downsampling=2).load().encode(X).shape == (3, 4, 16, 12)
