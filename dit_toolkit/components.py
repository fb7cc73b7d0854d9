"""One abstract base per family: what a block, sampler, dataset, ... must do.

A component is one frozen attrs class. Its fields are its TOML options, its methods are its behaviour. What a user
would write is an option; what the toolkit can compute (hidden size, tokens, device, world size) is an argument.

Shapes: N images, C channels, H x W pixels or latent pixels, T tokens, D = hidden_size.
Time: one clock for every objective, t in [0, 1] with 0 = data and 1 = noise, x_t = alpha(t) x0 + sigma(t) eps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from dit_toolkit.engine import Engine
from dit_toolkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn, optim

    from dit_toolkit.diffusion.denoiser import Denoiser, Prediction
    from dit_toolkit.diffusion.schedule import Schedule
    from dit_toolkit.imageset import ImageSet
    from dit_toolkit.random import Generator

Shape = tuple[int, int, int]
"""(channels, height, width) of one image or latent."""


class Component(ABC):
    """What every family shares: the `kind` by which a recipe names the class."""

    kind: ClassVar[str]


class Block(Component):
    """One transformer block, with the way in which it is conditioned on time and class."""

    adaptive: ClassVar[bool] = True
    """Whether the final layer is modulated by t + y too (adaLN), or has a plain LayerNorm."""
    identity_at_start: ClassVar[bool] = False
    """Whether a new block returns its input, as adaLN-Zero does."""

    @abstractmethod
    def build(self, hidden_size: int, num_heads: int) -> nn.Module:
        """Make the module, `module(x, t, y) -> x` with x (N, T, D) and embeddings t, y (N, D)."""

    @property
    def extra_tokens(self) -> int:
        """How many tokens the model puts before the image tokens, and drops at the end; see `build_prefix`."""
        return 0

    def build_prefix(self, hidden_size: int) -> nn.Module | None:  # noqa: ARG002 - for those that have one
        """Make the module of the extra tokens, `prefix(t, y) -> (N, extra_tokens, D)` for embeddings t, y (N, D)."""
        return None

    @abstractmethod
    def macs(self, tokens: int, hidden_size: int) -> dict[str, int]:
        """Multiply-adds of one block for one image, by part; `tokens` includes the extra ones."""


class Patchifier(Component):
    """The way from pixels to tokens and back."""

    patch_size: int | tuple[int, int]

    @property
    def patch(self) -> tuple[int, int]:
        """Patch (height, width) in pixels."""
        return (self.patch_size, self.patch_size) if isinstance(self.patch_size, int) else self.patch_size

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens.

        Raises:
            ValueError: the patch does not divide the size; the message names both numbers.
        """
        for axis, size, patch in (("height", height, self.patch[0]), ("width", width, self.patch[1])):
            if size % patch:
                raise ValueError(f"patch_size ({patch}) does not divide the {axis} of the model's input ({size})")
        return height // self.patch[0], width // self.patch[1]

    @abstractmethod
    def build_embed(self, in_channels: int, hidden_size: int) -> nn.Module:
        """Make the module (N, C, H, W) -> (N, T, D), tokens in row-major order."""

    @abstractmethod
    def build_head(self, hidden_size: int, out_channels: int) -> nn.Module:
        """Make the zero-initialised module `head(x (N, T, D), (rows, columns)) -> (N, C_out, H, W)`."""

    @abstractmethod
    def macs(self, tokens: int, hidden_size: int, in_channels: int, out_channels: int) -> dict[str, int]:
        """Multiply-adds of embedding and head for one image, by part."""


class Objective(Component):
    """What is learnt: the noise schedule, the target of the network and the weighting of the loss."""

    @abstractmethod
    def out_channels(self, in_channels: int) -> int:
        """Channels the network must return for `in_channels` of input."""

    @property
    @abstractmethod
    def schedule(self) -> Schedule:
        """alpha(t) and sigma(t) of x_t = alpha x0 + sigma eps."""

    @abstractmethod
    def times(self, num_steps: int, spacing: str = "uniform") -> list[float]:
        """The num_steps + 1 falling times from noise (at most 1) to data (0) of a step list.

        The default is the objective's own; `dit_toolkit.diffusion.steps.spaced` makes the lists from a schedule.

        Raises:
            ValueError: the objective has no such spacing or not that many steps.
        """

    @abstractmethod
    def network_time(self, t: Tensor) -> Tensor:
        """Map t (N,) in [0, 1] to the units in which the network was trained."""

    def network_input(self, x: Tensor, t: Tensor | float) -> Tensor:  # noqa: ARG002 - for those that scale it
        """What the network is given of x (N, C, H, W) at t: x itself, unless its range calls for a scale."""
        return x

    @abstractmethod
    def predict(self, output: Tensor, x: Tensor, t: Tensor | float) -> Prediction:
        """Convert raw network output (N, C_out, H, W) for x (N, C, H, W) at t into every equivalent prediction."""

    @abstractmethod
    def loss(
        self,
        model: Callable[[Tensor, Tensor, Tensor], Tensor],
        x0: Tensor,
        y: Tensor,
        *,
        noise: Tensor | None = None,
        t: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Per-sample loss (N,) of `model(network_input, network_time, y)` for data x0 (N, C, H, W) and labels y (N,).

        `noise` (N, C, H, W) and the times `t` (N,) on the clock are drawn from `generator` unless they are given.
        """


class Sampler(Component):
    """The way from noise to data. It sees a denoiser and nothing of networks, labels or guidance."""

    num_steps: int | None = None
    """Steps of the list that it walks; None where it finds its own."""
    order: ClassVar[int] = 1
    """The error falls at least with this power of num_steps."""
    calls_per_step: ClassVar[int] = 1
    """Most calls of the denoiser for one of the num_steps; a property where the options decide."""

    @property
    def calls(self) -> int | None:
        """Most calls of the denoiser in one sampling; None where they are not known before."""
        return None if self.num_steps is None else self.num_steps * self.calls_per_step

    def check(self, objective: Objective) -> None:
        """Refuse an objective for which the sampler is not defined.

        Raises:
            ValueError: names the option and the reason.
        """

    @abstractmethod
    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Carry `noise` (N, C, H, W) from the first time of the step list to t = 0; the input is left as it is.

        It is x at that time, `schedule.start(unit normal noise)`: unit normal itself but for `edm`, times sigma_max.
        `generator.randn_like(x)` gives the noise of a stochastic step, a function of seed and sample index alone.
        """


class Codec(Protocol):
    """A loaded autoencoder."""

    def encode(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] to scaled latents; the mode of the posterior without a generator."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to images (N, C, H, W) in about [-1, 1]."""
        ...


@runtime_checkable
class PosteriorCodec(Codec, Protocol):
    """A codec whose latents are drawn from a normal distribution; stores keep it, to draw anew at each reading."""

    shift: Tensor
    scale: Tensor
    """Each for all channels (1, 1, 1) or one by one (C, 1, 1): `encode` gives (z - shift) * scale of a drawn z."""

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of z, each (N, C, h, w) float32, for images (N, C, H, W) in [-1, 1]."""
        ...


class Autoencoder(Component):
    """The frozen map between images and the space in which diffusion happens."""

    def fingerprint(self) -> str | None:
        """Hash of what decides its latents, so that those of another are refused; None where it is not known here."""
        return None

    @abstractmethod
    def latent_shape(self, image: Shape) -> Shape:
        """Shape of the latent of an image; ValueError where the image does not fit."""

    @abstractmethod
    def load(self, device: str = "cpu") -> Codec:
        """Load the weights. A missing path is a DataError, never random weights."""


class Split(Protocol):
    """One split of a dataset, opened."""

    labels: np.ndarray
    """(len,) int64 class of every item."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Gather items: x (N, C, H, W) float32 in [-1, 1] (or latents) and y (N,) int64; augmented with a generator."""
        ...


class Dataset(Component):
    """Labelled images, or latents that the recipe's autoencoder made of them, in a train and a val split."""

    latents: bool = False
    """Whether items are latents, which `open_latents` reads; a property where the options decide."""

    @property
    def encoded_by(self) -> str | None:
        """Fingerprint of the autoencoder that made the latents; None where there are none or it is not known."""
        return None

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape of every image, also where the items are its latents."""

    @property
    @abstractmethod
    def class_names(self) -> Sequence[str]:
        """Names of the classes, in the order of the labels."""

    def check(self) -> None:
        """Refuse data that is not there, before anything starts and without reading it; MissingDataError."""

    @abstractmethod
    def open(self, split: Literal["train", "val"]) -> Split:
        """Read a split of images; DataError where a file is missing or damaged, or there are only latents."""

    def open_latents(self, split: Literal["train", "val"], shape: Shape) -> Split:  # noqa: ARG002 - for those with latents
        """Read a split of scaled latents (C, H, W) = shape; DataError where they are of another shape."""
        raise DataError(f"dataset {self.kind!r} holds images, no latents")


class Backend(Component):
    """What runs the training step."""

    @property
    def splits_weights(self) -> bool:
        """Whether its optimizer sees pieces of weights in the place of whole ones."""
        return False

    @abstractmethod
    def start(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        *,
        precision: Literal["fp32", "bf16", "fp16"],
        gradient_clipping: float,
        micro_batch_size: int,
        accumulation: int,
        device: str,
    ) -> Engine:
        """Wrap a model (float32, on `device`, equal on all ranks) and its optimizer; clipping at 0 is none."""


See = Callable[["np.ndarray"], "Mapping[str, np.ndarray]"]
"""see(images uint8 (N, H, W, 3)) -> {"features": (N, D) float32, ...}, the outputs of an extractor."""


class Extractor(Component):
    """A frozen network whose features metrics compare."""

    @property
    def name(self) -> str:
        """What values in its features are called: the kind, and what else one must know to compare them."""
        return self.kind

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the weights and of every setting that changes what is seen; a reference of another one is refused.

        Raises:
            DataError: the weights are not there; says how to get them.
        """

    @abstractmethod
    def load(self, device: str = "cpu") -> See:
        """Load the weights; returns what looks at images, some hundreds at a time.

        Its outputs are "features" (N, D), and of networks that have them "logits" (N, classes) and "spatial" (N, E),
        float32 all.

        Raises:
            DataError: the weights are not there, or those of another network.
        """


class RealImages(NamedTuple):
    """Real data that a metric may compare with."""

    reference: ImageSet
    """What samples are compared with: the held-out images, or those of a reference file."""
    train: ImageSet | None = None
    """The training images, where the data set is there."""


class Metric(Component):
    """A number that says how good a set of images is."""

    higher_is_better: ClassVar[bool | None]
    """None where neither is: the best value is the floor."""
    unit: ClassVar[str] = ""
    floor: ClassVar[Literal["reference", "train"]] = "reference"
    """Which real images give the value that perfect samples would have."""
    zero_on: ClassVar[Literal["reference", "train"] | None] = None
    """Which real images, given as samples, have the value 0 exactly."""
    symmetric: ClassVar[bool] = False
    """Whether exchanging the samples and the reference leaves the value."""
    by_number: ClassVar[bool] = False
    """Whether the value depends on the number of samples, so that only values of as many compare."""

    @property
    def name(self) -> str:
        """What the value is called: the kind, and what else one must know to compare it with another."""
        return self.kind

    @abstractmethod
    def compute(self, samples: ImageSet, real: RealImages) -> float:
        """Value for a set of images; DataError where they do not fit."""

    def error(self, samples: ImageSet, real: RealImages) -> float | None:
        """Standard error of the value, None where it is not known.

        Found by leaving out each tenth of the samples once (grouped jackknife, Efron & Tibshirani 1993, equation 11.5):
        drawing with replacement, as the bootstrap does, would bring copies, which distances of neighbours take for
        real. Those who know it better, or sooner, say so themselves.
        """
        values = [self.compute(rest, real) for rest in samples.left_out()]
        mean = sum(values) / max(len(values), 1)
        spread = sum((value - mean) ** 2 for value in values)
        return math.sqrt((len(values) - 1) / len(values) * spread) if len(values) > 1 else None


class Tracker(Component):
    """A copy of the run's numbers elsewhere; metrics.jsonl is always written. A failing tracker never stops a run."""

    @abstractmethod
    def start(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Open the tracker for a run folder and its resolved recipe."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of one step."""

    def images(self, step: int, name: str, path: Path) -> None:
        """Record a picture."""

    def close(self) -> None:
        """Flush and close."""


FAMILIES: dict[str, type[Component]] = {
    "blocks": Block,
    "patchifiers": Patchifier,
    "objectives": Objective,
    "samplers": Sampler,
    "autoencoders": Autoencoder,
    "datasets": Dataset,
    "backends": Backend,
    "extractors": Extractor,
    "metrics": Metric,
    "trackers": Tracker,
}


def family_of(cls: type) -> str:
    """Name the family of a component class; TypeError for anything else."""
    for family, base in FAMILIES.items():
        if isinstance(cls, type) and issubclass(cls, base):
            return family
    bases = ", ".join(base.__name__ for base in FAMILIES.values())
    raise TypeError(f"{cls!r} is not a component: it derives from none of {bases}")
