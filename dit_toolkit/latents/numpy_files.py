"""Files of numpy, read as arrays or not at all: nothing in them is ever unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dit_toolkit.errors import DataError


def read_npz(path: str | Path, names: Sequence[str]) -> list[np.ndarray]:
    """Read arrays of an .npz file by name.

    Raises:
        DataError: it is missing, damaged, lacks one of them, or holds Python objects.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise DataError(f"{path}: holds no array {' and no '.join(missing)}; it has {file.files}")
            return [file[name] for name in names]
    except DataError:
        raise
    except Exception as error:  # A damaged file may fail in any way.
        raise DataError(f"{path}: cannot be read as an .npz file of arrays ({_reason(error)})") from None


def names_in_npz(path: str | Path) -> list[str]:
    """Name the arrays in an .npz file; DataError where it is missing or damaged."""
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return list(file.files)
    except Exception as error:  # A damaged file may fail in any way.
        raise DataError(f"{path}: cannot be read as an .npz file of arrays ({_reason(error)})") from None


def read_npy(path: str | Path) -> np.ndarray:
    """Read an .npy file; DataError where it is missing, damaged, or holds Python objects."""
    try:
        with Path(path).open("rb") as opened:
            return np.lib.format.read_array(opened, allow_pickle=False)
    except Exception as error:  # A damaged file may fail in any way.
        raise DataError(f"{path}: cannot be read as an .npy file of an array ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
