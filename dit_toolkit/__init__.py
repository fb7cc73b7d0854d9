"""dit-toolkit: a plugin-based toolkit for Diffusion Transformers.

The names below are the public surface; everything else may change. Those that need torch load it when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dit_toolkit._version import __version__
from dit_toolkit.components import (
    Autoencoder,
    Backend,
    Block,
    Component,
    Dataset,
    Extractor,
    Metric,
    Objective,
    Patchifier,
    RealImages,
    Sampler,
    Split,
    Tracker,
)
from dit_toolkit.engine import Engine, Step
from dit_toolkit.errors import (
    CheckpointError,
    DataError,
    DitToolkitError,
    Interrupted,
    NonFiniteError,
    PluginError,
    RecipeError,
    StorageError,
)
from dit_toolkit.hookspecs import hookimpl
from dit_toolkit.recipe.autoencoder import AutoencoderRecipe
from dit_toolkit.recipe.load import load_any_recipe, load_recipe
from dit_toolkit.recipe.schema import Evaluate, Model, Optimizer, Recipe, Sample, Train
from dit_toolkit.registry import register
from dit_toolkit.samplers.stepped import Stepped
from dit_toolkit.shards import Shard, Span, whole_shards

if TYPE_CHECKING:
    from dit_toolkit.build import build_model
    from dit_toolkit.comparison import compare
    from dit_toolkit.diffusion.denoiser import Denoiser, Prediction
    from dit_toolkit.diffusion.schedule import Schedule
    from dit_toolkit.drawing.draw import sample
    from dit_toolkit.evaluation import evaluate
    from dit_toolkit.imageset import ImageSet
    from dit_toolkit.interop.exporting import export_model
    from dit_toolkit.interop.importing import import_model
    from dit_toolkit.moments import Moments
    from dit_toolkit.nn.attention import attend
    from dit_toolkit.nn.layers import modulate
    from dit_toolkit.random import Generator
    from dit_toolkit.run import train
    from dit_toolkit.sampling import Trained, load

__all__ = [
    "Autoencoder",
    "AutoencoderRecipe",
    "Backend",
    "Block",
    "CheckpointError",
    "Component",
    "DataError",
    "Dataset",
    "Denoiser",
    "DitToolkitError",
    "Engine",
    "Evaluate",
    "Extractor",
    "Generator",
    "ImageSet",
    "Interrupted",
    "Metric",
    "Model",
    "Moments",
    "NonFiniteError",
    "Objective",
    "Optimizer",
    "Patchifier",
    "PluginError",
    "Prediction",
    "RealImages",
    "Recipe",
    "RecipeError",
    "Sample",
    "Sampler",
    "Schedule",
    "Shard",
    "Span",
    "Split",
    "Step",
    "Stepped",
    "StorageError",
    "Tracker",
    "Train",
    "Trained",
    "__version__",
    "attend",
    "build_model",
    "compare",
    "evaluate",
    "export_model",
    "hookimpl",
    "import_model",
    "load",
    "load_any_recipe",
    "load_recipe",
    "modulate",
    "register",
    "sample",
    "train",
    "whole_shards",
]

_LAZY = {
    "Denoiser": "diffusion.denoiser",
    "Generator": "random",
    "ImageSet": "imageset",
    "Moments": "moments",
    "Prediction": "diffusion.denoiser",
    "Schedule": "diffusion.schedule",
    "Trained": "sampling",
    "attend": "nn.attention",
    "build_model": "build",
    "compare": "comparison",
    "evaluate": "evaluation",
    "export_model": "interop.exporting",
    "import_model": "interop.importing",
    "load": "sampling",
    "modulate": "nn.layers",
    "sample": "drawing.draw",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    """Import a torch-dependent name on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'dit_toolkit' has no attribute {name!r}")
    return getattr(import_module(f"dit_toolkit.{_LAZY[name]}"), name)
