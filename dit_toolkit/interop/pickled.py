"""PyTorch's own files, which are pickles: read as tensors and plain values, or not at all."""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from dit_toolkit.errors import CheckpointError


def read_pickled(path: Path) -> Any:
    """Read a .pt file with torch's `weights_only`, which runs no code of it; an `argparse.Namespace` may be in it.

    Raises:
        CheckpointError: no such file, cut short, or with anything else in it.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle may fail in any way
        text = " ".join(str(error).split())
        found = re.search(r"(?:Unsupported global: GLOBAL|Unsupported class|reduce) (\S+)", text)
        if found:
            raise CheckpointError(
                f"{path}: holds {found[1]}, and Python objects are not read from checkpoints, since they can run code; "
                "save the tensors alone"
            ) from None
        raise CheckpointError(
            f"{path}: cannot be read as a PyTorch checkpoint ({type(error).__name__}: {text[:200]})"
        ) from None
