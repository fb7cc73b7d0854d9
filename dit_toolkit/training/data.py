"""The data of a run, as the model is to see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from dit_toolkit import distributed
from dit_toolkit.components import PosteriorCodec, Split
from dit_toolkit.errors import DataError
from dit_toolkit.latents.drawn import DrawnLatents
from dit_toolkit.latents.scaling import PLAIN, Scaling
from dit_toolkit.progress import warn
from dit_toolkit.random import Generator
from dit_toolkit.recipe.autoencoder import AnyRecipe, AutoencoderRecipe
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes

Encode = Callable[[Tensor, Generator | None], Tensor]


def open_data(recipe: AnyRecipe, split: Literal["train", "val"], device: str) -> tuple[Split, Encode]:
    """Open a split, with what makes the model's input (N, C, H, W) of its items: the recipe's autoencoder.

    Items that are latents already, and images that an autoencoder is to learn from, stay as they are.

    Raises:
        DataError: data or autoencoder are not there, or are others than the recipe says, or fewer than processes.
    """
    if isinstance(recipe, AutoencoderRecipe):
        return recipe.dataset.open(split), lambda x, _: x
    if recipe.dataset.latents:
        _refuse_other_autoencoder(recipe)
        found = recipe.dataset.open_latents(split, sizes(recipe).latent)
        if recipe.dataset.encoded_by is None:
            _refuse_other_scaling(recipe, found)
    else:
        found = recipe.dataset.open(split)
    if len(found) < distributed.size():
        raise DataError(f"dataset: {len(found)} image(s) of {split} cannot be shared by {distributed.size()} processes")
    return found, (lambda x, _: x) if recipe.dataset.latents else recipe.autoencoder.load(device).encode


def _refuse_other_autoencoder(recipe: Recipe) -> None:
    """Refuse latents of another autoencoder than the recipe's, where both are known."""
    made, here = recipe.dataset.encoded_by, recipe.autoencoder.fingerprint()
    if made is None or made == here:
        return
    if here is not None:
        raise DataError(
            f"dataset: its latents were made by another autoencoder than the recipe's {recipe.autoencoder.kind!r}: "
            f"weights and scaling have the fingerprint {made[:16]}..., those of [autoencoder] {here[:16]}...; "
            "encode the images anew or change [autoencoder]"
        )
    warn(
        f"autoencoder: {recipe.autoencoder.kind!r} is not on this machine, so that it is not known whether it made the "
        "latents; sampling needs it"
    )


def _refuse_other_scaling(recipe: Recipe, latents: Split) -> None:
    """Refuse latents of which only the scaling is known, where it is another than that of the recipe's autoencoder."""
    if not isinstance(latents, DrawnLatents) or latents.made_with == PLAIN or recipe.autoencoder.fingerprint() is None:
        return
    codec = recipe.autoencoder.load()
    if isinstance(codec, PosteriorCodec) and not latents.made_with.like(
        scaling := Scaling.of(codec.shift, codec.scale)
    ):
        raise DataError(
            f"dataset: a model sees its latents z as {latents.made_with}, but the recipe's {recipe.autoencoder.kind!r} "
            f"scales as {scaling}, so that samples would be decoded wrongly; change the scaling factor or [autoencoder]"
        )
