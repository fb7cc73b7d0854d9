"""From a trained model to images: the same image for a (seed, sample index), whatever draws it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import attrs
import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from dit_toolkit import distributed
from dit_toolkit.build import build_model
from dit_toolkit.components import Codec
from dit_toolkit.diffusion.denoiser import Denoiser, LabelledDenoiser
from dit_toolkit.diffusion.guidance import Joint, Passes, Separate, check_guide, guided
from dit_toolkit.diffusion.preview import Callback, Observed
from dit_toolkit.errors import CheckpointError, RecipeError
from dit_toolkit.nn.dit import DiT
from dit_toolkit.progress import warn
from dit_toolkit.random import Generator, Indices
from dit_toolkit.recipe.origins import changes
from dit_toolkit.recipe.schema import Recipe, Sample
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.recipe.structure import fault
from dit_toolkit.weights import read_weights

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""network(x (N, C, H, W), t (N,), y (N,)) -> (N, C_out, H, W)."""

SAMPLED = ("autoencoder", "model", "objective", "sample")
"""Tables on whose components the images depend."""
CALL = ("sampler", "seed", "cfg_scale", "cfg_channels", "cfg_interval", "cfg_rescale", "cfg_passes")
"""Options of [sample] that one call may change."""


@frozen(kw_only=True)
class Trained:
    """A trained model with everything that drawing from it needs."""

    recipe: Recipe
    model: Network
    """The DiT, or the forward pass of one in training, which has its own precision."""
    codec: Codec
    step: int
    weights: str
    """"ema", "raw", or "ema-0.999" and so on."""
    digest: str
    """SHA-256 of the file of the weights."""
    device: str
    between: int = 0
    """How many labels the model has beyond those of its recipe, see `drawing.interpolation`."""
    class_names: tuple[str, ...] = field()
    """In the order of the labels."""

    @class_names.default
    def _names_of_the_dataset(self) -> tuple[str, ...]:
        return tuple(self.recipe.dataset.class_names)

    @cached_property
    def network(self) -> Network:
        """The model in the precision of the recipe's [sample]."""
        if self.recipe.sample.precision == "fp32" or not isinstance(self.model, DiT):
            return self.model
        return deepcopy(self.model).bfloat16()

    @cached_property
    def fingerprint(self) -> str | None:
        """That of the autoencoder."""
        return self.recipe.autoencoder.fingerprint()

    def with_sample(self, settings: Sample) -> Trained:
        """Return the same model with other settings in its recipe's [sample]."""
        return attrs.evolve(self, recipe=attrs.evolve(self.recipe, sample=settings))

    @cached_property
    def guide(self) -> Trained | None:
        """The weaker model that the recipe's [sample] names, in the same precision; loaded when first asked for.

        Raises:
            CheckpointError: nothing there, or damaged.
        """
        if self.recipe.sample.guide is None:
            return None
        try:
            found = load(self.recipe.sample.guide, device=self.device)
        except CheckpointError as error:
            raise CheckpointError(f"sample.guide: {error}") from None
        return found.with_sample(attrs.evolve(found.recipe.sample, precision=self.recipe.sample.precision))

    def _settings(self, changes: Mapping[str, Any]) -> Sample:
        """The recipe's [sample] with the changes of one call; RecipeError for a value out of range."""
        if surplus := changes.keys() - set(CALL):
            raise TypeError(f"{', '.join(sorted(surplus))}: no setting of one call; there are {', '.join(CALL)}")
        try:
            return attrs.evolve(self.recipe.sample, **changes)
        except ValueError as error:
            raise RecipeError.of([fault("sample", Sample, error)]) from None

    def denoiser(self, labels: Indices, *, guide: Trained | None = None, **settings: Any) -> Denoiser:
        """Return the denoiser of classes (N,), guided where cfg_scale is not 1.

        Args:
            guide: a weaker model in place of the null class; what the recipe's [sample] names unless given.
            settings: `cfg_scale` and so on in place of the recipe's [sample].

        Raises:
            RecipeError: a setting or label out of range, no null class, or a guide that cannot guide this model.
        """
        labels = torch.as_tensor(labels, dtype=torch.int64, device=self.device)
        chosen, null = self._settings(settings), self.recipe.model.num_classes
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= null + self.between:
            raise RecipeError(f"labels: must be 0 to {null - 1} ({null} is the null class)")
        denoiser = LabelledDenoiser(self.network, self.recipe.objective, labels)
        if chosen.cfg_scale == 1:
            return denoiser
        passes: Passes
        if guide := guide or self.guide:
            check_guide(self.recipe, guide.recipe)
            passes = Separate(denoiser, LabelledDenoiser(guide.network, guide.recipe.objective, labels))
        elif self.recipe.model.class_dropout_prob == 0:
            raise RecipeError("cfg_scale: guidance needs a model trained with class_dropout_prob > 0, or a guide")
        elif chosen.cfg_passes == "joint":
            passes = Joint(denoiser, torch.full_like(labels, null))
        else:
            passes = Separate(denoiser, denoiser.with_labels(torch.full_like(labels, null)))
        return guided(
            passes,
            scale=chosen.cfg_scale,
            channels=chosen.cfg_channels,
            interval=chosen.cfg_interval,
            rescale=chosen.cfg_rescale,
        )

    @overload
    def sample(self, labels: Indices, *, trajectory: Literal[True], **settings: Any) -> list[Tensor]: ...
    @overload
    def sample(self, labels: Indices, **settings: Any) -> Tensor: ...
    @torch.inference_mode()
    def sample(
        self,
        labels: Indices,
        *,
        index: Indices | None = None,
        guide: Trained | None = None,
        callback: Callback | None = None,
        trajectory: bool = False,
        **settings: Any,
    ) -> Tensor | list[Tensor]:
        """Draw images (N, C, H, W) in about [-1, 1] of classes (N,).

        Args:
            index: (N,) sample numbers; (seed, number) alone determines an image's noise. 0 .. N-1 unless given.
            guide: a weaker model in place of the null class; what the recipe's [sample] names unless given.
            callback: called as callback(i, n, x0) after evaluation i = 1, 2, ... of at most n (None where the sampler
                does not know) with the data predicted now, (N, C, H, W), guided and not yet decoded.
            trajectory: return a list of the images predicted at every evaluation, and last those drawn.
            settings: `sampler`, `seed`, `cfg_scale` and so on in place of the recipe's [sample].
        """
        chosen = self._settings(settings)
        self._check(chosen)
        generator = Generator(chosen.seed, "sample", range(len(labels)) if index is None else index, self.device)
        denoiser = self.denoiser(labels, guide=guide, **settings)
        frames: list[Tensor] = []
        if trajectory:
            denoiser = Observed(denoiser, chosen.sampler.calls, lambda _i, _n, x0: frames.append(x0))
        if callback:
            denoiser = Observed(denoiser, chosen.sampler.calls, callback)
        noise = self.recipe.objective.schedule.start(generator.randn(*sizes(self.recipe).latent))  # (N, C, H, W)
        latents = chosen.sampler.sample(denoiser, noise, generator=generator)
        if trajectory:
            return [self.decode(x) for x in (*frames, latents)]
        return self.decode(latents)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (N, C, h, w) to images (N, C, H, W), `decode_batch_size` of the recipe's [sample] at once."""
        size = self.recipe.sample.decode_batch_size
        return torch.cat([self.codec.decode(latents[i : i + size]) for i in range(0, max(1, len(latents)), size)])

    def check(self) -> None:
        """Refuse settings by which nothing can be drawn, before anything is.

        Raises:
            RecipeError: a sampler that does not fit the objective, or labels or guidance that the model does not have.
        """
        self._check(self.recipe.sample)
        self.denoiser(np.unique(labels_of(self.recipe)))

    def _check(self, chosen: Sample) -> None:
        try:
            chosen.sampler.check(self.recipe.objective)
        except ValueError as error:
            raise RecipeError(f"sample.sampler: {error}") from None


def load(
    path: str | Path,
    *,
    recipe: Recipe | None = None,
    weights: str | None = None,
    plugins: Sequence[str] = (),
    set: Sequence[str] = (),
    device: str | None = None,
    verify: bool = True,
) -> Trained:
    """Load a run folder (its newest checkpoint), one checkpoint, or a file of weights that was imported or exported.

    Args:
        recipe: what it was trained with; the one stored with it unless given.
        weights: "ema", "raw", or "ema-0.999" and so on; what the recipe's [sample], or the file, says unless given.
        plugins: Python files to load first; a stored recipe never loads code by itself.
        set: changes of the recipe, such as `sample.cfg_scale=4` or `autoencoder.path=DIR`, with TOML values.
        verify: compare a checkpoint with its hashes; False for one that has just been verified.

    Raises:
        CheckpointError: nothing there, or damaged.
        RecipeError: a change is none.
    """
    device = device or distributed.device()
    found = read_weights(Path(path), recipe=recipe, kind=weights, plugins=plugins, set=set, verify=verify)
    for line in changes(found.origins, found.name, found.recipe, SAMPLED):
        warn(line)
    model = build_model(found.recipe)
    model.load_state_dict(found.state)
    model.to(device).eval().requires_grad_(False)
    return Trained(
        recipe=found.recipe,
        model=model,
        codec=found.recipe.autoencoder.load(device),
        step=found.step,
        weights=found.kind,
        digest=found.digest,
        device=device,
        class_names=_class_names(Path(path), found.recipe),
    )


def labels_of(recipe: Recipe, number: int | None = None) -> np.ndarray:
    """Class (num_samples,) of every sample, or of `number` of them, a function of [sample] and the sample's number.

    Balanced, it is each class in turn, so that any number of samples is as balanced as it can be.

    Raises:
        RecipeError: a class that the model does not have.
    """
    count = recipe.model.num_classes
    if (chosen := recipe.sample.labels) and max(chosen) >= count:
        raise RecipeError(f"sample.labels: {max(chosen)} is no class; there are 0 to {count - 1}")
    classes, index = np.array(chosen or range(count)), np.arange(number or recipe.sample.num_samples)
    if recipe.sample.label_sampling == "balanced":
        return classes[index % len(classes)]
    uniform = Generator(recipe.sample.seed, "labels", index).rand().numpy()  # (num_samples,) in [0, 1)
    return classes[(uniform * len(classes)).astype(np.int64)]


def _class_names(path: Path, recipe: Recipe) -> tuple[str, ...]:
    """Names that the run noted, or else those of its data set as it is here."""
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    try:
        names = json.loads((run / "classes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        names = None
    if isinstance(names, list) and len(names) == recipe.model.num_classes and not all(map(_is_number, names)):
        return tuple(map(str, names))
    return tuple(recipe.dataset.class_names)


def _is_number(name: object) -> bool:
    return str(name).isdecimal()
