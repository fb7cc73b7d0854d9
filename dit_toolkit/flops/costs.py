"""All costs of a recipe together, and the same recipe at another size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from dit_toolkit.components import Component
from dit_toolkit.errors import DitToolkitError, RecipeError
from dit_toolkit.flops.formula import TRAINING, macs
from dit_toolkit.flops.paper import paper_gmacs
from dit_toolkit.flops.saved import activations
from dit_toolkit.recipe.autoencoder import AutoencoderRecipe, AutoencoderSizes, autoencoder_sizes
from dit_toolkit.recipe.sizes import Sizes, sizes
from dit_toolkit.recipe.structure import fault

if TYPE_CHECKING:
    from dit_toolkit.optimizers import Group
    from dit_toolkit.recipe.autoencoder import AnyRecipe
    from dit_toolkit.recipe.schema import Recipe

C = TypeVar("C", bound=Component)


@attrs.frozen(kw_only=True)
class Costs:
    """What the network of a recipe costs, for one image where it says nothing else."""

    sizes: Sizes | AutoencoderSizes
    parameters: int
    """All of them, the frozen positions included, as the literature counts them."""
    trainable: int
    macs: dict[str, int]
    """Multiply-adds of a forward pass, by part."""
    activations: int | DitToolkitError
    """Bytes kept for the backward pass on this machine in the recipe's precision, or why they cannot be counted."""
    paper: float | None
    """GMACs that the DiT paper publishes for this model, under the name Gflops."""
    groups: list[Group] = attrs.field(factory=list)
    """Trainable parameters as the optimizer has them, without their values."""

    @property
    def forward(self) -> int:
        """Multiply-adds of a forward pass."""
        return sum(self.macs.values())

    @property
    def training(self) -> int:
        """Multiply-adds of training on one image."""
        return TRAINING * self.forward

    @property
    def moments(self) -> int:
        """Bytes of optimizer state beside the master weights, of the whole model."""
        return sum(group.moments for group in self.groups)

    def as_dict(self) -> dict[str, Any]:
        """Give all of it under names for JSON; activations are None where they cannot be counted."""
        counts = {**self.macs, "forward": self.forward, "training": self.training}
        return {
            **attrs.asdict(self.sizes, filter=attrs.filters.exclude("out_channels")),
            "parameters": {"total": self.parameters, "trainable": self.trainable},
            "macs": counts,
            "flops": {part: 2 * count for part, count in counts.items()},
            "activations": None if isinstance(self.activations, DitToolkitError) else self.activations,
            "paper_gmacs": self.paper,
            "groups": [group.as_dict() for group in self.groups],
        }


def costs_of(recipe: AnyRecipe) -> Costs:
    """Count what a recipe costs; its model is built without weights.

    Raises:
        RecipeError: the recipe does not fit together.
        DataError: an autoencoder's package is not installed.
    """
    size: Any = autoencoder_sizes(recipe) if isinstance(recipe, AutoencoderRecipe) else sizes(recipe)
    parts = macs(recipe)

    import torch

    from dit_toolkit.build import build_model
    from dit_toolkit.nn.dit import count_parameters
    from dit_toolkit.optimizers import parameter_groups

    with torch.device("meta"):
        model = build_model(recipe)
    kept: int | DitToolkitError
    try:
        kept = activations(recipe)
    except DitToolkitError as error:
        kept = error
    return Costs(
        sizes=size,
        parameters=count_parameters(model),
        trainable=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        macs=parts,
        activations=kept,
        paper=None
        if isinstance(recipe, AutoencoderRecipe)
        else paper_gmacs(recipe.model, size.latent, size.out_channels),
        groups=parameter_groups(model, recipe.train.optimizer),
    )


def resized(
    recipe: Recipe,
    *,
    image_size: int | tuple[int, int] | None = None,
    patch_size: int | tuple[int, int] | None = None,
) -> Recipe:
    """Give a recipe another image size, in pixels, or another patch; None leaves it.

    Raises:
        RecipeError: the dataset or patchifier has no such option, or refuses the value.
    """
    if image_size is not None:
        recipe = attrs.evolve(recipe, dataset=_evolve("dataset", recipe.dataset, "image_size", image_size))
    if patch_size is not None:
        patchifier = _evolve("model.patchifier", recipe.model.patchifier, "patch_size", patch_size)
        recipe = attrs.evolve(recipe, model=attrs.evolve(recipe.model, patchifier=patchifier))
    return recipe


def _evolve(path: str, component: C, option: str, value: Any) -> C:
    kind: Any = type(component)
    if option not in attrs.fields_dict(kind):
        raise RecipeError(f"{path}.kind: '{component.kind}' has no option {option}, so its size cannot be changed")
    try:
        return attrs.evolve(component, **{option: value})  # type: ignore[misc]
    except (TypeError, ValueError) as error:
        raise RecipeError.of([fault(path, kind, error)]) from error
