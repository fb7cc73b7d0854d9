"""The attrs classes of a recipe, in the order in which a run uses them.

The same classes are the Python API: build a `Recipe` from them, or change one with `attrs.evolve`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import deep_iterable, ge, gt, le, lt, matches_re, optional

from dit_toolkit import registry
from dit_toolkit.components import (
    Autoencoder,
    Backend,
    Block,
    Dataset,
    Metric,
    Objective,
    Patchifier,
    Sampler,
    Tracker,
)

COUNT = [ge(1), le(2**31)]
SEED = [ge(0), lt(2**63)]
FACTOR: list[Any] = [gt(1), le(1e9)]
WEIGHTS = r"raw|ema(-\d[\d.e-]*)?"
"""Names of weights: raw, and the averages."""
LABELS: Callable[[Any, Any, Any], None] = deep_iterable([ge(0), le(10_000_000)])


def _default(family: str, kind: str) -> Callable[[], Any]:
    """Make a factory of the component `kind` with its default options."""
    return lambda: registry.active().resolve(family, kind)()


@frozen(kw_only=True)
class Model:
    """The network."""

    hidden_size: int = field(validator=[ge(4), le(65_536)])
    depth: int = field(validator=[ge(1), le(1_000)])
    num_heads: int = field(validator=[ge(1), le(1_024)])
    num_classes: int = field(validator=[ge(1), le(10_000_000)])
    class_dropout_prob: float = field(default=0.1, validator=[ge(0), lt(1)])
    """Share of labels replaced by the null class in training; 0 leaves out the null class and thereby guidance."""
    positions: Literal["sincos", "learned"] = "sincos"
    """Fixed 2-D sine-cosine positions, or learned ones."""
    time_frequencies: Literal["paper", "diffusers"] = "paper"
    """Of the sinusoids that embed the time: 10000^(-i/128), or 10000^(-i/127) as diffusers' DiT has them."""
    patchifier: Patchifier = field(factory=_default("patchifiers", "conv"))
    block: Block = field(factory=_default("blocks", "adaln-zero"))

    def __attrs_post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) is not divisible by num_heads ({self.num_heads})")
        if self.hidden_size % 4 and self.positions == "sincos":
            raise ValueError(
                f"hidden_size ({self.hidden_size}) is not divisible by 4, which the 2-D sine-cosine positions need;"
                ' positions = "learned" take any'
            )


@frozen(kw_only=True)
class Optimizer:
    """What moves the weights, at the learning rate of [train]."""

    kind: Literal["adamw", "adam", "adamw-8bit", "muon"] = "adamw"
    """adamw; adam, whose decay passes through its moments; adamw-8bit, of bitsandbytes; muon for the matrices of the
    blocks, with adamw for the rest."""
    betas: tuple[float, float] = field(default=(0.9, 0.999), validator=deep_iterable([ge(0), lt(1)]))
    eps: float = field(default=1e-8, validator=[gt(0), le(1)])
    weight_decay: float = field(default=0.0, validator=[ge(0), le(100)])
    weight_decay_on: Literal["matrices", "all"] = "matrices"
    """Matrices and kernels alone, or biases, norms, embeddings and learned positions too."""
    momentum: float | None = field(default=None, validator=optional([ge(0), lt(1)]))
    """Of muon; 0.95 unless given."""

    def __attrs_post_init__(self) -> None:
        if self.momentum is not None and self.kind != "muon":
            raise ValueError(f"momentum is an option of kind 'muon', not of {self.kind!r}, whose momentum is betas[0]")


@frozen(kw_only=True)
class Train:
    """The training loop. Lengths are in optimizer steps of `global_batch_size` images."""

    max_steps: int = field(validator=COUNT)
    global_batch_size: int = field(validator=[ge(1), le(1_048_576)])
    micro_batch_size: int | None = field(default=None, validator=optional([ge(1), le(1_048_576)]))
    """Images per process and forward pass; as many as are likely to fit into memory unless given."""
    lr: float = field(default=1e-4, validator=[gt(0), le(100)])
    lr_schedule: Literal["constant", "linear", "cosine", "wsd"] = "constant"
    """How lr goes after the warm-up: constant, down until max_steps, or in the last lr_decay_steps alone ("wsd")."""
    lr_warmup_steps: int = field(default=0, validator=[ge(0), le(2**31)])
    lr_decay_steps: int | None = field(default=None, validator=optional(COUNT))
    """Length of the decay of "wsd", at the end."""
    lr_end_share: float = field(default=0.0, validator=[ge(0), le(1)])
    """Share of lr that is left at max_steps, where it goes down."""
    optimizer: Optimizer = field(factory=Optimizer)
    gradient_clipping: float = field(default=0.0, validator=[ge(0), le(1e9)])
    """Largest gradient norm; 0 switches clipping off."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    tf32: bool = False
    """Whether a GPU rounds the factors of float32 products to TF32, for about eight times their speed."""
    compile: bool = False
    """Whether blocks are compiled by torch.compile, which takes about a minute at the start."""
    activation_checkpointing: int = field(default=0, validator=[ge(0), le(1_000)])
    """Every n-th block is run again in the backward pass, for memory: 1 each, 2 every other one; 0 none."""
    ema_decay: float = field(default=0.9999, validator=[ge(0), lt(1)])
    """Decay of the float32 moving average of the weights."""
    ema_more: list[float] = field(factory=list, validator=deep_iterable([ge(0), lt(1)]))
    """Decays of further averages, each saved as weights of its own: "ema-0.999"."""
    ema_ramp: bool = True
    """Update number n = 0, 1, ... decays by min(decay, (1 + n) / (10 + n)), to forget the initial weights."""
    non_finite: Literal["stop", "skip", "rollback"] = "stop"
    """After a step whose loss or gradient is not finite, which never reaches the weights: stop, leave it out, or go
    back to the last checkpoint and take other data from there."""
    non_finite_limit: int = field(default=10, validator=COUNT)
    """Such steps in a row, or returns to one checkpoint, after which training stops all the same."""
    spike_factor: float | None = field(default=None, validator=optional(FACTOR))
    """A loss so many times the median of the last 100 is treated as one that is not finite; never unless given."""
    log_every: int = field(default=100, validator=COUNT)
    validate_every: int = field(default=0, validator=[ge(0), le(2**31)])
    """Steps between two looks at the loss on held-out images, by the averaged weights; 0 for none."""
    validate_images: int = field(default=1_000, validator=COUNT)
    """Held-out images of such a look and of `--stage validate`, spread over the split; all where it has fewer."""
    sample_every: int = field(default=0, validator=[ge(0), le(2**31)])
    """Steps between two pictures of samples, by the averaged and by the raw weights; 0 for none."""
    evaluate_every: int = field(default=0, validator=[ge(0), le(2**31)])
    """Steps between two evaluations of samples by the metrics of [evaluate], of the averaged weights; 0 for none."""
    evaluate_samples: int = field(default=1_000, validator=[ge(2), le(2**31)])
    """Samples of such an evaluation."""
    checkpoint_every: int = field(default=10_000, validator=COUNT)
    checkpoint_keep: int = field(default=2, validator=[ge(2), le(1_000_000)])
    """Newest checkpoints to keep."""
    checkpoint_keep_every: int | None = field(default=None, validator=optional(COUNT))
    """Checkpoints of steps that are a multiple of this are kept for ever; none unless given."""
    checkpoint_async: bool = True
    """Write checkpoints beside the training, where a copy of the state takes at most half of the free memory."""
    backend: Backend = field(factory=_default("backends", "deepspeed"))
    trackers: list[Tracker] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        if self.checkpoint_keep_every and self.checkpoint_keep_every % self.checkpoint_every:
            raise ValueError(
                f"checkpoint_keep_every ({self.checkpoint_keep_every}) is not a multiple of checkpoint_every "
                f"({self.checkpoint_every}), so that it would keep few or none"
            )
        if self.lr_schedule == "wsd" and self.lr_decay_steps is None:
            raise ValueError(
                "lr_decay_steps is missing, which lr_schedule 'wsd' needs: how many of the last steps decay"
            )
        if self.lr_schedule != "wsd" and self.lr_decay_steps is not None:
            raise ValueError(f"lr_decay_steps belongs to lr_schedule 'wsd', not to {self.lr_schedule!r}")
        if self.lr_decay_steps is not None and self.lr_warmup_steps + self.lr_decay_steps > self.max_steps:
            raise ValueError(
                f"lr_decay_steps ({self.lr_decay_steps}) and lr_warmup_steps ({self.lr_warmup_steps}) are more than "
                f"max_steps ({self.max_steps})"
            )
        if self.lr_end_share and self.lr_schedule == "constant":
            raise ValueError(
                f"lr_end_share ({self.lr_end_share:g}) needs an lr_schedule that goes down, not 'constant'"
            )
        if len({self.ema_decay, *self.ema_more}) <= len(self.ema_more):
            raise ValueError(f"ema_more {self.ema_more} repeats a decay; ema_decay is {self.ema_decay:g}")

    @property
    def averages(self) -> list[str]:
        """Names of the averaged weights: "ema", then those of ema_more."""
        return ["ema", *(f"ema-{decay}" for decay in self.ema_more)]


@frozen(kw_only=True)
class Sample:
    """What is drawn from the trained model."""

    num_samples: int = field(default=1_000, validator=COUNT)
    batch_size: int = field(default=100, validator=[ge(1), le(1_048_576)])
    """Images per process and call of the sampler."""
    decode_batch_size: int = field(default=16, validator=[ge(1), le(1_048_576)])
    """Of these, images that the autoencoder decodes at once, which takes more memory than drawing them."""
    labels: list[int] | None = field(default=None, validator=optional(LABELS))
    """Classes to draw from; all of them unless given."""
    label_sampling: Literal["balanced", "random"] = "balanced"
    """How samples get their classes: each class in turn, or every sample one at random, by seed and number."""
    seed: int = field(default=0, validator=SEED)
    weights: str = field(default="ema", validator=matches_re(WEIGHTS))
    """The average of train.ema_decay ("ema"), one of train.ema_more ("ema-0.999"), or "raw", not averaged."""
    precision: Literal["fp32", "bf16"] = "fp32"
    cfg_scale: float = field(default=1.0, validator=[ge(0), le(1_000)])
    """Classifier-free guidance u + s (c - u); 1 is no guidance and makes no second pass."""
    cfg_channels: int | None = field(default=None, validator=optional([ge(1), le(65_536)]))
    """How many of the first channels are guided; all unless given (facebookresearch/DiT guides 3 of 4)."""
    cfg_interval: tuple[float, float] = field(default=(0.0, 1.0), validator=deep_iterable([ge(0), le(1)]))
    """Times, from 0 (data) to 1 (noise), between which is guided; at others no second pass is made."""
    cfg_rescale: float = field(default=0.0, validator=[ge(0), le(1)])
    """How much of the deviation that guidance adds is taken away again (Lin et al. 2023, who use 0.7)."""
    cfg_passes: Literal["joint", "separate"] = "joint"
    """Both passes as one batch, or one after the other in less memory; of a guide always the latter."""
    guide: str | None = None
    """A weaker run, checkpoint or file that takes the place of the null class (autoguidance, Karras et al. 2024)."""
    grid_columns: int = field(default=10, validator=[ge(1), le(100)])
    """Samples of each class shown in the grid."""
    sampler: Sampler = field(factory=_default("samplers", "ddpm"))

    def __attrs_post_init__(self) -> None:
        if self.labels == []:
            raise ValueError("labels is empty; name at least one class or leave it out for all of them")
        low, high = self.cfg_interval
        if low >= high:
            raise ValueError(f"cfg_interval [{low:g}, {high:g}] holds no time; write [low, high] with low < high")


@frozen(kw_only=True)
class Evaluate:
    """How the samples are judged."""

    metrics: list[Metric] = field(factory=list)
    reference: str | None = None
    """A file of `dit-toolkit reference`, or an ADM reference batch; the held-out images unless given."""


@frozen(kw_only=True)
class Recipe:
    """One run, from data to numbers."""

    plugins: list[str] = field(factory=list)
    """Python files (relative to the recipe) whose components this recipe uses."""
    seed: int = field(default=0, validator=SEED)
    dataset: Dataset
    autoencoder: Autoencoder = field(factory=_default("autoencoders", "identity"))
    model: Model
    objective: Objective = field(factory=_default("objectives", "ddpm"))
    train: Train
    sample: Sample = field(factory=Sample)
    evaluate: Evaluate = field(factory=Evaluate)
