"""Small models of random weights, whose images differ."""

import attrs
import torch

from dit_toolkit import load_recipe
from dit_toolkit.autoencoders.identity import Identity
from dit_toolkit.build import build_model
from dit_toolkit.sampling import Trained
from tests.conftest import ROOT, SMALL

BLOCKS = ("adaln-zero", "adaln", "cross-attention", "in-context")


def random_model(*changes, seed=0):
    """A model of recipes/fashion.toml, made small and changed, with three steps of Heun's method."""
    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "sample.sampler.num_steps=3", *changes])
    model = build_model(recipe).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.normal_(std=0.3, generator=generator)
    return Trained(
        recipe=recipe, model=model, codec=Identity().load(), step=seed, weights="raw", digest=str(seed), device="cpu"
    )


def settings(trained, **changes):
    """The model with other settings."""
    return trained.with_sample(attrs.evolve(trained.recipe.sample, **changes))
