import json

import pytest
import torch

from dit_toolkit.build import build_model
from dit_toolkit.recipe.structure import structure
from dit_toolkit.weights import Weights, write_weights


def tiny_recipe(*, model=(), latents=True, **tables):
    """A recipe of a small DiT on 4 x 8 x 8 latents, or on 3 x 8 x 8 pixels."""
    size = 64 if latents else 8
    return structure(
        {
            "dataset": {"kind": "latents", "path": "nowhere", "image_size": size, "num_classes": 10}
            if latents
            else {"kind": "synthetic", "latents": False, "image_size": size, "num_classes": 10},
            "autoencoder": {"kind": "kl", "path": "nowhere"} if latents else {"kind": "identity"},
            "model": {"hidden_size": 32, "depth": 3, "num_heads": 4, "num_classes": 10, **dict(model)},
            "objective": {"kind": "ddpm"},
            "train": {"max_steps": 1, "global_batch_size": 1},
            **tables,
        }
    )


def random_model(recipe, seed=0):
    """Its network, all weights random, so that each of them counts."""
    model, generator = build_model(recipe), torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    return model.eval()


def inputs(channels=4, dtype=torch.float64):
    """Noisy latents, timesteps at both ends and in between, and classes with the null class."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, channels, 8, 8, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.tensor([0, 1, 500, 998, 999]), torch.tensor([0, 3, 9, 10, 5])


def store(path, recipe, model, **facts):
    """Put a model into a file of our own."""
    weights = {"kind": "ema", "step": 3, "provenance": json.dumps({}), **facts}
    write_weights(path, Weights(recipe=recipe, state=model.state_dict(), **weights))
    return path


@pytest.fixture
def place(tmp_path):
    """A folder for outputs, in which nothing may be left behind but what a test says."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder
