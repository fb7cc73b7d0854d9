"""The markers of hooks and of their implementations."""

import pluggy

NAME = "dit_toolkit"
"""Project name, plugin marker and entry-point group: one string."""

hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)
