"""The hooks of a plugin: one per family, each returning the component classes that the plugin offers.

Every hook's docstring is a complete plugin of its family.
"""

from dit_toolkit.hookspecs.data import register_autoencoders, register_datasets
from dit_toolkit.hookspecs.denoising import register_objectives, register_samplers
from dit_toolkit.hookspecs.markers import API, NAME, hookimpl, hookspec
from dit_toolkit.hookspecs.network import register_blocks, register_patchifiers
from dit_toolkit.hookspecs.running import register_backends, register_extractors, register_metrics, register_trackers

__all__ = [
    "API",
    "NAME",
    "hookimpl",
    "hookspec",
    "register_autoencoders",
    "register_backends",
    "register_blocks",
    "register_datasets",
    "register_extractors",
    "register_metrics",
    "register_objectives",
    "register_patchifiers",
    "register_samplers",
    "register_trackers",
]
