"""The sizes that follow from a recipe, and the checks across its components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from attrs import frozen

from dit_toolkit.components import Component, Shape
from dit_toolkit.errors import DitToolkitError, RecipeError
from dit_toolkit.recipe.schema import Recipe, Train
from dit_toolkit.recipe.structure import Fault, fault

T = TypeVar("T")


@frozen(kw_only=True)
class Sizes:
    """What the toolkit computes so that nobody has to write it."""

    image: Shape
    latent: Shape
    """(channels, height, width) of the model's input."""
    grid: tuple[int, int]
    """Rows and columns of tokens."""
    tokens: int
    """Image tokens: rows x columns, without the extra ones of a block."""
    out_channels: int
    """Channels the network returns."""


def sizes(recipe: Recipe) -> Sizes:
    """Compute the sizes and check the recipe as a whole.

    Raises:
        RecipeError: everything that does not fit together, each with its TOML path.
    """
    faults: list[Fault] = []

    def ask(path: str, component: Component, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except (ValueError, DitToolkitError) as error:
            faults.append(fault(path, type(component), error))
            return None

    dataset, autoencoder, patchifier = recipe.dataset, recipe.autoencoder, recipe.model.patchifier
    grid = latent = out_channels = None
    image = ask("dataset", dataset, lambda: dataset.shape)
    if image is not None:
        latent = ask("autoencoder", autoencoder, lambda: autoencoder.latent_shape(image))
    if latent is not None:
        grid = ask("model.patchifier", patchifier, lambda: patchifier.grid(*latent[1:]))
        out_channels = ask("objective", recipe.objective, lambda: recipe.objective.out_channels(latent[0]))
    classes = ask("dataset", dataset, lambda: len(dataset.class_names))
    ask("sample.sampler", recipe.sample.sampler, lambda: recipe.sample.sampler.check(recipe.objective))
    faults += _faults(recipe, classes, latent)
    if faults or image is None or latent is None or grid is None or out_channels is None:
        raise RecipeError.of(dict.fromkeys(faults))
    return Sizes(image=image, latent=latent, grid=grid, tokens=grid[0] * grid[1], out_channels=out_channels)


def split_batch(settings: Train, processes: int) -> tuple[int, int]:
    """Images per process and step, and images per process and forward pass; RecipeError where they do not divide."""
    share, rest = divmod(settings.global_batch_size, processes)
    if rest:
        raise RecipeError(
            f"train.global_batch_size: {settings.global_batch_size} images cannot be split over {processes} processes"
        )
    micro = min(settings.micro_batch_size or share, share)
    if share % micro:
        raise RecipeError(
            f"train.micro_batch_size: {micro} does not divide the {share} images of each of {processes} processes"
        )
    return share, micro


def train_faults(train: Train) -> Iterator[Fault]:
    """What does not fit together in [train]."""
    if train.micro_batch_size is not None and train.global_batch_size % train.micro_batch_size:
        yield (
            "train.micro_batch_size",
            f"({train.micro_batch_size}) does not divide global_batch_size ({train.global_batch_size})",
        )
    kind = train.optimizer.kind
    reasons = {"muon": "makes whole matrices orthogonal", "adamw-8bit": "scales blocks of whole weights"}
    if kind in reasons and train.backend.splits_weights:
        yield (
            "train.optimizer.kind",
            f"{kind!r} {reasons[kind]}, and this backend's optimizer sees pieces of them; "
            'set train.backend.zero_stage = 0, or kind = "single"',
        )


def _faults(recipe: Recipe, classes: int | None, latent: Shape | None) -> Iterator[Fault]:
    model, train, sample = recipe.model, recipe.train, recipe.sample
    if classes is not None and classes != model.num_classes:
        yield "model.num_classes", f"must be {classes}, as many as the dataset has, got {model.num_classes}"
    for index, label in enumerate(sample.labels or ()):
        if label >= model.num_classes:
            yield f"sample.labels[{index}]", f"must be < {model.num_classes} (model.num_classes), got {label}"
            break
    if sample.weights not in (known := [*train.averages, "raw"]):
        yield "sample.weights", f"must be one of {', '.join(known)}; train.ema_more adds averages; got {sample.weights}"
    if sample.cfg_scale != 1 and sample.guide is None and model.class_dropout_prob == 0:
        yield (
            "sample.cfg_scale",
            f"guidance ({sample.cfg_scale}) needs the null class, which model.class_dropout_prob = 0 leaves out;"
            " raise that, set cfg_scale = 1 or name a guide",
        )
    if sample.cfg_channels is not None and latent is not None and sample.cfg_channels > latent[0]:
        yield "sample.cfg_channels", f"must be <= {latent[0]}, the channels of the latent, got {sample.cfg_channels}"
    names = [metric.name for metric in recipe.evaluate.metrics]
    for index, name in enumerate(names):
        if (first := names.index(name)) < index:
            yield f"evaluate.metrics[{index}]", f"is called {name!r}, and so is evaluate.metrics[{first}]; keep one"
    if train.activation_checkpointing > model.depth:
        yield (
            "train.activation_checkpointing",
            f"({train.activation_checkpointing}) is more than model.depth ({model.depth}), so that it means none",
        )
    yield from train_faults(train)
