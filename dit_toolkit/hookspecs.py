"""The hooks of a plugin: one per family, each returning the component classes that the plugin offers."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

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

NAME = "dit_toolkit"
"""Project name, plugin marker and entry-point group: one string."""
API = 1
"""Version of what a plugin builds on: the hooks below and the bases in `components`; raised when plugins must change.

A module (or one class) that needs a version says so with `DIT_TOOLKIT_API = 1`; one from the future is not loaded.
"""

hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)


@hookspec
def register_blocks() -> Iterable[type[Block]]:
    """Return the transformer blocks this plugin offers."""


@hookspec
def register_patchifiers() -> Iterable[type[Patchifier]]:
    """Return the patchifiers this plugin offers."""


@hookspec
def register_objectives() -> Iterable[type[Objective]]:
    """Return the objectives this plugin offers."""


@hookspec
def register_samplers() -> Iterable[type[Sampler]]:
    """Return the samplers this plugin offers."""


@hookspec
def register_autoencoders() -> Iterable[type[Autoencoder]]:
    """Return the autoencoders this plugin offers."""


@hookspec
def register_datasets() -> Iterable[type[Dataset]]:
    """Return the datasets this plugin offers."""


@hookspec
def register_backends() -> Iterable[type[Backend]]:
    """Return the training backends this plugin offers."""


@hookspec
def register_metrics() -> Iterable[type[Metric]]:
    """Return the metrics this plugin offers."""


@hookspec
def register_trackers() -> Iterable[type[Tracker]]:
    """Return the trackers this plugin offers."""
