"""The recipe that trains an autoencoder: its network, what it learns, and the checks across them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import gcd
from typing import Any, ClassVar, Literal

import attrs
from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, max_len, min_len

from dit_toolkit.components import Dataset, Shape
from dit_toolkit.errors import DitToolkitError, RecipeError
from dit_toolkit.recipe.schema import SEED, Model, Recipe, Train
from dit_toolkit.recipe.sizes import sizes, train_faults
from dit_toolkit.recipe.structure import Fault, fault, structure

CHANNELS: Callable[[Any, Any, Any], None] = deep_iterable([ge(1), le(65_536)], and_(min_len(1), max_len(10)))
GROUPS = 32
"""Groups of a group norm in diffusers; fewer where they do not divide the channels."""


@frozen(kw_only=True)
class AutoencoderModel:
    """The network: an `AutoencoderKL` of diffusers (Rombach et al. 2022, section 3.1)."""

    kind: Literal["autoencoder-kl"]
    """By this the recipe is known as one of an autoencoder."""
    latent_channels: int = field(default=4, validator=[ge(1), le(1024)])
    block_channels: list[int] = field(validator=CHANNELS)
    """Channels at each resolution, the image's first; each further one is half as high and wide."""
    layers_per_block: int = field(default=2, validator=[ge(1), le(100)])
    """Residual layers at each resolution of the encoder; the decoder has one more."""
    num_classes: ClassVar[int] = 0
    class_dropout_prob: ClassVar[float] = 0.0
    """Labels play no part."""

    @property
    def downsampling(self) -> int:
        """Pixels for one of a latent."""
        return int(2 ** (len(self.block_channels) - 1))

    @property
    def norm_groups(self) -> int:
        """Groups of every group norm."""
        return gcd(GROUPS, *self.block_channels)

    def latent_shape(self, image: Shape) -> Shape:
        """(latent_channels, height / downsampling, width / downsampling); ValueError where the image does not fit."""
        _, height, width = image
        for axis, size in (("height", height), ("width", width)):
            if size % self.downsampling:
                raise ValueError(
                    f"block_channels has {len(self.block_channels)} resolutions, so {self.downsampling} must divide "
                    f"the {axis} of images ({size})"
                )
        return self.latent_channels, height // self.downsampling, width // self.downsampling


@frozen(kw_only=True)
class Perceptual:
    """A distance between features of a trained network (Johnson et al. 2016; Zhang et al. 2018)."""

    network: Literal["vgg16", "fashion"]
    """VGG16 of torchvision, or the classifier of Fashion-MNIST that comes with the package."""
    path: str | None = None
    """File with the weights of VGG16: `vgg16-397923af.pth` of torchvision, or the same as safetensors."""
    weight: float = field(default=1.0, validator=[gt(0), le(1e6)])

    def __attrs_post_init__(self) -> None:
        if self.network == "vgg16" and not self.path:
            raise ValueError("path is missing: vgg16 needs the file of its weights, and is never used without")
        if self.network == "fashion" and self.path is not None:
            raise ValueError("path must be left out: the weights of fashion come with the package")


@frozen(kw_only=True)
class Reconstruction:
    """What is learnt: to give the image back from a latent that is drawn near a standard normal distribution."""

    kind: Literal["reconstruction"] = "reconstruction"
    distance: Literal["l1", "l2"] = "l1"
    """Of pixels: the absolute difference, or its square; the mean over an image."""
    kl_weight: float = field(default=1e-6, validator=[ge(0), le(1e6)])
    """Of the divergence from the standard normal distribution, in nats for each number of the image."""
    perceptual: Perceptual | None = None


@frozen(kw_only=True)
class AutoencoderRecipe:
    """A run that trains an autoencoder, on the images of a dataset."""

    plugins: list[str] = field(factory=list)
    """Python files (relative to the recipe) whose components this recipe uses."""
    seed: int = field(default=0, validator=SEED)
    dataset: Dataset
    model: AutoencoderModel
    objective: Reconstruction = field(factory=Reconstruction)
    train: Train


AnyRecipe = Recipe | AutoencoderRecipe


@frozen(kw_only=True)
class AutoencoderSizes:
    """What follows from the recipe of an autoencoder."""

    image: Shape
    latent: Shape


def structure_any(table: Mapping[str, Any]) -> AnyRecipe:
    """Make a recipe of either shape of TOML tables and check it as a whole; RecipeError with all that is wrong."""
    if is_autoencoder(table):
        autoencoder = structure(table, AutoencoderRecipe)
        autoencoder_sizes(autoencoder)
        return autoencoder
    recipe = structure(table)
    sizes(recipe)
    return recipe


def is_autoencoder(table: Mapping[str, Any]) -> bool:
    """Whether a recipe's tables are those of an autoencoder: [model] has a kind, or nothing that a transformer has."""
    model = table.get("model")
    if not isinstance(model, dict) or not model:
        return False
    return "kind" in model or not model.keys() & attrs.fields_dict(Model).keys()


def autoencoder_sizes(recipe: AutoencoderRecipe) -> AutoencoderSizes:
    """Compute the sizes and check the recipe as a whole.

    Raises:
        RecipeError: everything that does not fit together, each with its TOML path.
    """
    faults: list[Fault] = []
    image = latent = None
    if recipe.dataset.latents:
        faults.append(("dataset.kind", f"{recipe.dataset.kind!r} holds latents; an autoencoder learns from images"))
    try:
        image = recipe.dataset.shape
        latent = recipe.model.latent_shape(image)
    except (ValueError, DitToolkitError) as error:
        path, owner = ("dataset", type(recipe.dataset)) if image is None else ("model", AutoencoderModel)
        faults.append(fault(path, owner, error))
    faults += train_faults(recipe.train)
    faults += _of_transformers(recipe.train)
    if faults or image is None or latent is None:
        raise RecipeError.of(faults)
    return AutoencoderSizes(image=image, latent=latent)


def _of_transformers(train: Train) -> Iterator[Fault]:
    """Options of [train] that an autoencoder does not have."""
    for option in ("validate_every", "sample_every"):
        if getattr(train, option):
            yield f"train.{option}", "must be 0; an autoencoder is measured and shown when it is trained"
    for option, none in (("compile", "false"), ("activation_checkpointing", "0")):
        if getattr(train, option):
            yield f"train.{option}", f"must be {none}; it is for the blocks of a transformer, not for an autoencoder"
    if train.optimizer.kind == "muon":
        yield "train.optimizer.kind", "'muon' is for the blocks of a transformer; an autoencoder takes 'adamw'"
