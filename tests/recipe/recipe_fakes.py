"""Torch-free stand-ins for the built-in components, and a recipe that uses them."""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, le, lt

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
from dit_toolkit.hookspecs import hookimpl

TOML = """\
seed = 1

[dataset]
kind = "pictures"
image_size = 32

[autoencoder]
kind = "identity"

[model]
hidden_size = 64
depth = 4
num_heads = 4
num_classes = 10

[model.patchifier]
kind = "conv"
patch_size = [4, 2]

[model.block]
kind = "adaln-zero"
mlp_ratio = 4

[objective]
kind = "ddpm"
learn_sigma = true

[train]
max_steps = 100
global_batch_size = 64
micro_batch_size = 16
lr = 1e-3
precision = "bf16"

[train.backend]
kind = "deepspeed"
zero_stage = 1
config.zero_optimization.reduce_bucket_size = 1_000_000

[[train.trackers]]
kind = "csv"

[sample]
cfg_scale = 1.5
labels = [0, 9]

[sample.sampler]
kind = "ddim"
num_steps = 50

[[evaluate.metrics]]
kind = "accuracy"

[[evaluate.metrics]]
kind = "distance"
features = "logits"
"""


@frozen(kw_only=True)
class AdaLNZero(Block):
    kind = "adaln-zero"
    mlp_ratio: float = field(default=4.0, validator=[gt(0), le(100)])

    def build(self, hidden_size, num_heads):
        raise NotImplementedError

    def macs(self, tokens, hidden_size):
        return {}


@frozen(kw_only=True)
class Conv(Patchifier):
    kind = "conv"
    patch_size: int | tuple[int, int] = 2

    def __attrs_post_init__(self):
        if min(self.patch) < 1:
            raise ValueError(f"patch_size must be >= 1, got {self.patch_size}")

    def build_embed(self, in_channels, hidden_size):
        raise NotImplementedError

    def build_head(self, hidden_size, out_channels):
        raise NotImplementedError

    def macs(self, tokens, hidden_size, in_channels, out_channels):
        return {}


@frozen(kw_only=True)
class DDPM(Objective):
    kind = "ddpm"
    num_timesteps: int = field(default=1000, validator=[ge(1), le(1_000_000)])
    learn_sigma: bool = True

    def out_channels(self, in_channels):
        return in_channels * (1 + self.learn_sigma)

    schedule = times = network_time = predict = loss = None


@frozen(kw_only=True)
class DDPMSampler(Sampler):
    kind = "ddpm"
    num_steps: int = field(default=250, validator=[ge(1), le(1_000_000)])

    def check(self, objective):
        if self.num_steps > objective.num_timesteps:
            raise ValueError(f"num_steps ({self.num_steps}) is more than num_timesteps ({objective.num_timesteps})")

    def sample(self, denoiser, noise, *, generator=None):
        raise NotImplementedError


@frozen(kw_only=True)
class DDIMSampler(DDPMSampler):
    kind = "ddim"
    eta: float = field(default=0.0, validator=[ge(0), le(1)])


@frozen(kw_only=True)
class Identity(Autoencoder):
    kind = "identity"

    def latent_shape(self, image):
        return image

    def load(self, device="cpu"):
        raise NotImplementedError


@frozen(kw_only=True)
class Pictures(Dataset):
    kind = "pictures"
    image_size: int = field(default=32, validator=[ge(1), le(4096)])
    flip: bool = False

    @property
    def shape(self):
        return 1, self.image_size, self.image_size

    @property
    def class_names(self):
        return [f"class {index}" for index in range(10)]

    def open(self, split):
        raise NotImplementedError


@frozen(kw_only=True)
class DeepSpeed(Backend):
    kind = "deepspeed"
    zero_stage: Literal[0, 1, 2, 3] = 1
    config: dict[str, Any] = field(factory=dict)

    def start(self, model, optimizer, **options):
        raise NotImplementedError


@frozen(kw_only=True)
class Accuracy(Metric):
    kind = "accuracy"
    higher_is_better = True
    threshold: float = field(default=0.5, validator=[ge(0), lt(1)])

    def compute(self, samples, real):
        return 0.0


@frozen(kw_only=True)
class Distance(Metric):
    kind = "distance"
    higher_is_better = False
    features: Literal["penultimate", "logits"] = "penultimate"

    def compute(self, samples, real):
        return 0.0


@frozen(kw_only=True)
class CSV(Tracker):
    kind = "csv"

    def start(self, folder, recipe):
        raise NotImplementedError

    def log(self, step, values):
        raise NotImplementedError


@hookimpl
def register_blocks():
    return [AdaLNZero]


@hookimpl
def register_patchifiers():
    return [Conv]


@hookimpl
def register_objectives():
    return [DDPM]


@hookimpl
def register_samplers():
    return [DDPMSampler, DDIMSampler]


@hookimpl
def register_autoencoders():
    return [Identity]


@hookimpl
def register_datasets():
    return [Pictures]


@hookimpl
def register_backends():
    return [DeepSpeed]


@hookimpl
def register_metrics():
    return [Accuracy, Distance]


@hookimpl
def register_trackers():
    return [CSV]
