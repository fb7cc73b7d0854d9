"""On tensors without data that say they are on a GPU: an operation that mixes devices is an error there too."""

import numpy as np
import pytest
import torch
from attrs import evolve
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from dit_toolkit import build_model, load_recipe
from dit_toolkit.diffusion.denoiser import LabelledDenoiser
from dit_toolkit.diffusion.guidance import Joint, Separate, guided
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.registry import Registry
from dit_toolkit.testing.parametrize import describe
from tests.conftest import ROOT

BUILTIN = Registry(discover=False)
OBJECTIVES = [
    DDPM(),
    DDPM(target="v", zero_terminal_snr=True, learn_sigma=False, shift=2.0),
    DDPM(learn_sigma=False, weighting="min-snr", low_discrepancy=True),
    FlowMatching(time_sampling="logit-normal"),
    FlowMatching(path="gvp", target="x0", shift=3.0),
    FlowMatching(path="vp"),
    EDM(),
]
STEPPED = [kind for kind in BUILTIN.kinds("samplers") if kind != "adaptive-ode"]  # That one reads errors back.


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Tensors without data on "cuda"; numbers may be read from the CPU alone, where they are made up."""

    def numbers(tensor):
        assert tensor.device.type == "cpu", "numbers are read back from the device"
        return np.full(tuple(tensor.shape), 0.5)

    monkeypatch.setattr(FakeTensor, "numpy", numbers)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda")


def denoiser(objective, device):
    """A network that is given all on the device, and gives one for a learnt variance too."""

    def network(x, t, y):
        assert {z.device.type for z in (x, t, y)} == {"cuda"}
        output = x * t.to(x.dtype)[:, None, None, None]
        return output.repeat(1, objective.out_channels(x.shape[1]) // x.shape[1], 1, 1)

    return LabelledDenoiser(network, objective, torch.zeros(3, dtype=torch.int64, device=device))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=describe)
def test_losses(gpu, objective):
    x0, network = torch.empty(3, 4, 8, 8, device=gpu), denoiser(objective, gpu)
    loss = objective.loss(network.model, x0, network.labels, generator=Generator(0, "n", range(3)))
    assert (loss.device.type, loss.shape) == ("cuda", (3,))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=describe)
@pytest.mark.parametrize("kind", STEPPED)
def test_samplers(gpu, kind, objective):
    sampler = BUILTIN.resolve("samplers", kind)(num_steps=3)
    if kind == "ddpm" and not getattr(objective, "learn_sigma", False):
        sampler = evolve(sampler, variance="fixed-small")
    noise, plain = objective.schedule.start(torch.empty(3, 4, 8, 8, device=gpu)), denoiser(objective, gpu)
    for options in ({}, {"clip_x0": 1.0}, {"threshold": 0.9}):
        for each in (
            plain,
            guided(Joint(plain, plain.labels), scale=2.0, channels=2, rescale=0.5),
            guided(Separate(plain, plain), scale=2.0, interval=(0.2, 0.8)),
        ):
            x = evolve(sampler, **options).sample(each, noise, generator=Generator(0, "s", range(3)))
            assert (x.device.type, x.shape) == ("cuda", noise.shape)


@pytest.mark.parametrize("block", ["adaln-zero", "adaln", "in-context", "cross-attention"])
@pytest.mark.parametrize("more", [[], ["model.positions=learned", "model.patchifier.kind=linear"]])
def test_networks(gpu, block, more):
    small = ["model.depth=1", "model.hidden_size=32", "model.num_heads=2", f"model.block.kind={block}"]
    recipe = load_recipe(ROOT / "recipes/b2.toml", set=[*small, "model.block.qk_norm=true", *more])
    with gpu:
        model = build_model(recipe)
    x = torch.empty(2, 4, 32, 32, device=gpu)
    output = model(x, torch.empty(2, device=gpu), torch.zeros(2, dtype=torch.int64, device=gpu))
    assert (output.device.type, output.shape) == ("cuda", (2, 8, 32, 32))
