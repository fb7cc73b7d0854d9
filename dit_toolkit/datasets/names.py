"""Names of classes beside the folders of data."""

from __future__ import annotations

import json
from pathlib import Path

from dit_toolkit.errors import DataError

CLASSES = "classes.json"
"""Beside the folders: readable names of the classes by the names of their folders."""


def read_names(path: Path) -> dict[str, str]:
    """Read names by folders; none where there is no such file. DataError where it is damaged or something else."""
    if not path.is_file():
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{path}: must be a table of folder names and class names")
    return names
