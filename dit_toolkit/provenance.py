"""Where a run comes from: components, versions, device, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dit_toolkit import distributed
from dit_toolkit._version import __version__
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.recipe.origins import origins


def provenance(recipe: AnyRecipe) -> dict[str, Any]:
    """Where every component comes from, and the versions, device and commit that a run depends on."""
    cuda = torch.cuda.is_available()
    return {
        "dit_toolkit": __version__,
        "components": origins(recipe),
        "versions": {package: _version(package) for package in ("torch", "deepspeed", "numpy", "attrs", "cattrs")},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU, {os.cpu_count()} cores",
        "processes": distributed.size(),
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the toolkit's own source tree, if it is run from one."""
    try:
        result = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
