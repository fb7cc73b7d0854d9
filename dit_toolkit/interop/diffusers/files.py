"""The files of a folder that diffusers wrote, or is to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from dit_toolkit.errors import CheckpointError
from dit_toolkit.weights import open_safetensors

VERSION = "0.30.0"
"""Of diffusers, whose configs these are."""
WEIGHTS = "diffusion_pytorch_model.safetensors"


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a config."""
    path.write_text(json.dumps(values, indent=2) + "\n")


def write_model(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Make the folder of a model."""
    folder.mkdir()
    write_json(folder / "config.json", config)
    save_file({name: tensor.float().contiguous() for name, tensor in state.items()}, folder / WEIGHTS, {"format": "pt"})


def read_json(path: Path) -> dict[str, Any]:
    """Read a config; CheckpointError where it cannot be."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: holds no table of options")
    return found


def read_state(folder: Path) -> tuple[dict[str, Tensor], list[Path]]:
    """Read the weights, from one file or from those that an index names; returns these files too."""
    index = folder / f"{WEIGHTS}.index.json"
    files = [folder / WEIGHTS]
    if not files[0].is_file() and index.is_file():
        parts = read_json(index).get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(name, str) and "/" not in name for name in parts.values()):
            raise CheckpointError(f"{index}: does not say which files of this folder hold the weights")
        files = [folder / name for name in sorted(set(parts.values()))]
    if not files[0].is_file():
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        hint = (
            f"; {pickled[0]} is a pickle and is not read: load it with diffusers, trusting its source, and write it "
            "again with save_pretrained"
            if pickled
            else ""
        )
        raise CheckpointError(f"{folder}: has no {WEIGHTS}{hint}")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= open_safetensors(file)[0]
    return state, files
