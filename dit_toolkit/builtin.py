"""The built-in components, offered through the same hooks as a plugin's; loaded by name from the registry.

Each hook imports its own family only, and no component module imports torch at its top, so that a recipe is checked
before torch is loaded.
"""

from __future__ import annotations

from dit_toolkit.components import (
    Autoencoder,
    Backend,
    Block,
    Dataset,
    Extractor,
    Metric,
    Objective,
    Patchifier,
    Sampler,
    Tracker,
)
from dit_toolkit.hookspecs import hookimpl


@hookimpl
def register_blocks() -> list[type[Block]]:
    """The four variants of the DiT paper."""
    from dit_toolkit.blocks.adaln import AdaLN
    from dit_toolkit.blocks.adaln_zero import AdaLNZero
    from dit_toolkit.blocks.cross_attention import CrossAttention
    from dit_toolkit.blocks.in_context import InContext

    return [AdaLNZero, AdaLN, InContext, CrossAttention]


@hookimpl
def register_patchifiers() -> list[type[Patchifier]]:
    """A convolution, or a linear layer."""
    from dit_toolkit.patchifiers.conv import Conv
    from dit_toolkit.patchifiers.linear import Linear

    return [Conv, Linear]


@hookimpl
def register_objectives() -> list[type[Objective]]:
    """Denoising diffusion, flow matching and EDM."""
    from dit_toolkit.objectives.ddpm import DDPM
    from dit_toolkit.objectives.edm import EDM
    from dit_toolkit.objectives.flow_matching import FlowMatching

    return [DDPM, FlowMatching, EDM]


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Ancestral and implicit sampling; solvers of the probability-flow ODE and of the reverse SDE."""
    from dit_toolkit.samplers.adaptive_ode import AdaptiveODE
    from dit_toolkit.samplers.ddim import DDIMSampler
    from dit_toolkit.samplers.ddpm import DDPMSampler
    from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
    from dit_toolkit.samplers.euler import Euler
    from dit_toolkit.samplers.euler_ancestral import EulerAncestral
    from dit_toolkit.samplers.heun import Heun
    from dit_toolkit.samplers.sde_euler import SDEEuler
    from dit_toolkit.samplers.unipc import UniPC

    return [DDPMSampler, DDIMSampler, Euler, EulerAncestral, Heun, DPMSolverPP, UniPC, SDEEuler, AdaptiveODE]


@hookimpl
def register_autoencoders() -> list[type[Autoencoder]]:
    """None at all, for pixels, and those of diffusers."""
    from dit_toolkit.autoencoders.dc import DC
    from dit_toolkit.autoencoders.identity import Identity
    from dit_toolkit.autoencoders.kl import KL
    from dit_toolkit.autoencoders.tiny import Tiny

    return [Identity, KL, Tiny, DC]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    """Images of one's own, those that come with the package, latents made beforehand, and random numbers."""
    from dit_toolkit.datasets.arrays import Arrays
    from dit_toolkit.datasets.fashion import Fashion
    from dit_toolkit.datasets.image_folder import ImageFolder
    from dit_toolkit.datasets.latent_files import LatentFiles
    from dit_toolkit.datasets.latents import Latents
    from dit_toolkit.datasets.synthetic import Synthetic
    from dit_toolkit.datasets.torchvision import Torchvision

    return [Fashion, ImageFolder, Arrays, Torchvision, Latents, LatentFiles, Synthetic]


@hookimpl
def register_backends() -> list[type[Backend]]:
    """DeepSpeed, and plain PyTorch on one process."""
    from dit_toolkit.backends.deepspeed import DeepSpeed
    from dit_toolkit.backends.single import Single

    return [DeepSpeed, Single]


@hookimpl
def register_extractors() -> list[type[Extractor]]:
    """The FID's Inception-v3, classifiers of Fashion-MNIST and ImageNet, networks of timm and torchvision, pixels."""
    from dit_toolkit.extractors.efficientnet_lite0 import EfficientNetLite0
    from dit_toolkit.extractors.fashion import Fashion
    from dit_toolkit.extractors.inception import Inception
    from dit_toolkit.extractors.pixels import Pixels
    from dit_toolkit.extractors.timm import Timm
    from dit_toolkit.extractors.torchvision import Torchvision

    return [Fashion, Inception, EfficientNetLite0, Timm, Torchvision, Pixels]


@hookimpl
def register_metrics() -> list[type[Metric]]:
    """What the field reports, on Inception-v3 or any other extractor; class accuracy, and a search for copies."""
    from dit_toolkit.metrics.class_accuracy import ClassAccuracy
    from dit_toolkit.metrics.coverage import Coverage
    from dit_toolkit.metrics.density import Density
    from dit_toolkit.metrics.fid import FID
    from dit_toolkit.metrics.frechet_distance import FrechetDistance
    from dit_toolkit.metrics.inception_score import InceptionScore
    from dit_toolkit.metrics.kid import KID
    from dit_toolkit.metrics.memorisation import Memorisation
    from dit_toolkit.metrics.precision import Precision
    from dit_toolkit.metrics.recall import Recall
    from dit_toolkit.metrics.sfid import SFID

    published: list[type[Metric]] = [FID, SFID, KID, InceptionScore, Precision, Recall, Density, Coverage]
    return [FrechetDistance, *published, ClassAccuracy, Memorisation]


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    """CSV and TensorBoard."""
    from dit_toolkit.trackers.csv import CSV
    from dit_toolkit.trackers.tensorboard import TensorBoard

    return [CSV, TensorBoard]
