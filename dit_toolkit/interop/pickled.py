"""PyTorch's own files, which are pickles: read as tensors and plain values, or not at all."""

from __future__ import annotations

import argparse
import re
import warnings
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
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle may fail in any way
        text = " ".join(str(error).split())
        if found := re.search(r"GLOBAL (\S+)", text):
            raise CheckpointError(
                f"{path}: holds {found[1]}, and Python objects are not read from checkpoints, since they can run code; "
                "save the tensors alone"
            ) from None
        reason = text.rpartition("WeightsUnpickler error: ")[2].removeprefix("Weights only load failed. ")[:200]
        raise CheckpointError(
            f"{path}: cannot be read as a PyTorch checkpoint ({type(error).__name__}: {reason})"
        ) from None
