"""The markers of hooks and of their implementations."""

import pluggy

NAME = "dit_toolkit"
"""Project name, plugin marker and entry-point group: one string."""
API = 1
"""Version of what a plugin builds on: the hooks and the bases in `components`; raised when plugins must change.

A module (or one class) that needs a version says so with `DIT_TOOLKIT_API = 1`; one from the future is not loaded.
"""

hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)
