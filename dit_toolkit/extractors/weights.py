"""Weights of trained networks: found on this machine, known by their hash, read as tensors or not at all."""

from __future__ import annotations

import functools
import hashlib
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.files import some

if TYPE_CHECKING:
    from torch import Tensor, nn

OPTION = "extractor.path"
"""By which a recipe names a file."""
BROKEN = (UnpicklingError, EOFError, LookupError, struct.error, AssertionError, TypeError, AttributeError)
"""What torch raises, besides OSError, RuntimeError and ValueError, where bytes of a file are missing or others."""


def hub_folder() -> Path:
    """Where torch.hub keeps what it has downloaded; by its rules, without loading torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"


def locate(path: str | None, urls: Sequence[str], what: str) -> Path:
    """The file at `path`, or the first of the downloaded ones in torch.hub's folder.

    Raises:
        MissingDataError: there is none; says where to download it to.
    """
    if path is not None:
        if Path(path).is_file():
            return Path(path)
        raise MissingDataError(f"{OPTION}: {path} is no file; it takes {what}, as from", *urls)
    folder = hub_folder()
    for url in urls:
        if (found := folder / url.rpartition("/")[2]).is_file():
            return found
    commands = [f"curl -L --create-dirs -o {folder / url.rpartition('/')[2]} {url}" for url in urls]
    raise MissingDataError(
        f"{OPTION}: {what} are not in {folder}; give their path, or get them"
        + (" by one of" if len(urls) > 1 else " by"),
        *commands,
    )


def fingerprint(path: Path, what: str) -> str:
    """SHA-256 of all weights of a file, whatever else is in it; computed once for each change of the file."""
    facts = path.stat()
    return _fingerprint(path.resolve(), facts.st_size, facts.st_mtime_ns, what)


@functools.lru_cache(maxsize=64)
def _fingerprint(path: Path, size: int, changed: int, what: str) -> str:  # noqa: ARG001 - part of the key
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(_kept(read_state(path, what)).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return digest.hexdigest()


def read_state(path: Path, what: str, option: str = OPTION) -> dict[str, Tensor]:
    """Read the tensors of a .pth or .safetensors file; nothing in it is run. DataError where it cannot be read."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, ValueError, *BROKEN) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{option}: {path} cannot be read; it takes {what} ({reason})") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise DataError(f"{option}: {path} holds no table of tensors; it takes {what}")
    return state


def fill(model: nn.Module, path: Path, what: str) -> None:
    """Load the weights of a file into a model, every one of them; DataError as of `read_state` and `compare`."""
    state = read_state(path, what)
    compare(model, state, path, what)
    model.load_state_dict(_kept(state), strict=False)
    model.eval().requires_grad_(False)


def compare(model: nn.Module, state: Mapping[str, Tensor], path: Path, what: str, option: str = OPTION) -> None:
    """Refuse weights that are not those of a model; how often a normalisation was trained does not matter.

    Raises:
        DataError: a weight is missing, left over or of another shape; names some of each.
    """
    own, state = _kept(model.state_dict()), _kept(state)
    shapes = [
        f"{name} ({tuple(state[name].shape)} there, {tuple(own[name].shape)} here)"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    faults: list[tuple[str, Iterable[str]]] = [
        ("missing", own.keys() - state.keys()),
        ("not of this network", state.keys() - own.keys()),
        ("of another shape", shapes),
    ]
    lines = [f"  {fault}: {some(sorted(names))}" for fault, names in faults if names]
    if lines:
        raise DataError(f"{option}: {path} holds the weights of another network; it takes {what}", *lines)


def _kept(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
