"""What a latent store says about itself: `manifest.json`, written last, so that a store without one is not complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from attrs import field, frozen
from attrs.validators import deep_iterable, ge, in_, min_len

from dit_toolkit.components import Shape
from dit_toolkit.errors import DataError, RecipeError
from dit_toolkit.files import sha256, write_atomically
from dit_toolkit.recipe.structure import structure, unstructure

NAME = "manifest.json"
FORMAT = 1
BLOCK = 2048
"""Rows that have a checksum of their own, and that one process writes; a block fills whole pages of 4096 bytes."""
SIZES = {"float16": 2, "bfloat16": 2, "float32": 4}
"""Bytes of a number."""

DType = Literal["float16", "bfloat16", "float32"]
Memory = Literal["mapped", "ram", "device"]
"""Where the latents are held in training: in the file, mapped into memory, or whole in RAM, or on the device."""


@frozen(kw_only=True)
class Skipped:
    """An image that could not be read; its row holds zeros and is never given out."""

    row: int = field(validator=ge(0))
    reason: str


@frozen(kw_only=True)
class SplitEntry:
    """One split: a safetensors file with `labels` (rows,) and `latents` (rows, versions, parts, C, h, w)."""

    file: str = field(validator=min_len(1))
    rows: int = field(validator=ge(1))
    """One for every image of the source, in its order."""
    labels_sha256: str
    blocks_sha256: list[str] = field(factory=list)
    """Of the latents' bytes, for each block of rows."""
    skipped: list[Skipped] = field(factory=list)

    @classmethod
    def of(cls, split: str, labels: np.ndarray) -> SplitEntry:
        """Begin the entry of a split with labels (rows,), whose latents are still to be written."""
        return cls(file=f"{split}.safetensors", rows=len(labels), labels_sha256=sha256(labels.astype("<i8").tobytes()))


@frozen(kw_only=True)
class Manifest:
    """Everything a reader needs to know; equal data, autoencoder and options give equal manifests."""

    format: int = field(default=FORMAT, validator=in_([FORMAT]))
    source: dict[str, Any]
    """The dataset, as a recipe has it."""
    autoencoder: dict[str, Any]
    """The autoencoder, as a recipe has it."""
    fingerprint: str | None = None
    """SHA-256 of the autoencoder's weights and scaling; none where it cannot tell."""
    image: Shape
    """(channels, height, width) of the images."""
    latent: Shape
    """(channels, height, width) of a latent."""
    content: Literal["moments", "sample"]
    """Mean and standard deviation of the posterior, or one latent."""
    flip: bool
    """Whether each row has the mirrored image beside the image."""
    dtype: DType
    shift: list[float] = field(factory=lambda: [0.0], validator=min_len(1))
    scale: list[float] = field(factory=lambda: [1.0], validator=min_len(1))
    """For each channel, or for all: a model sees (z - shift) * scale of what is stored."""
    batch_size: int = field(validator=ge(1))
    """Images that went through the autoencoder together; another number may change the last bits."""
    block: int = field(default=BLOCK, validator=ge(1))
    class_names: list[str] = field(validator=min_len(1))
    splits: dict[str, SplitEntry] = field(validator=min_len(1))

    def __attrs_post_init__(self) -> None:
        for name in ("shift", "scale"):
            if len(getattr(self, name)) not in (1, self.latent[0]):
                raise ValueError(f"{name} must have 1 or {self.latent[0]} numbers, has {len(getattr(self, name))}")
        deep_iterable(ge(1))(self, attrs.fields(Manifest).latent, self.latent)

    @property
    def versions(self) -> int:
        """1, or 2 with the mirrored image."""
        return 2 if self.flip else 1

    @property
    def parts(self) -> int:
        """2 for mean and standard deviation, or 1."""
        return 2 if self.content == "moments" else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of latents."""
        channels, height, width = self.latent
        return self.versions * self.parts * channels * height * width * SIZES[self.dtype]


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a store, or the plan of one.

    Raises:
        DataError: it is missing or damaged, or of another format; the message names the file and the fault.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return structure(found, Manifest)
    except FileNotFoundError:
        raise DataError(f"{path.parent}: holds no latents ({path.name} is not there)") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    except RecipeError as error:
        raise DataError(*(f"{path}: {line}" for line in error.lines)) from None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest, complete or not at all."""
    write_atomically(path, json.dumps(unstructure(manifest), indent=1) + "\n")


def differences(there: Manifest, here: Manifest) -> list[str]:
    """Name what two manifests do not share, apart from what encoding finds out; a line each."""
    lines = []
    for option in attrs.fields(Manifest):
        old, new = (_plan(getattr(manifest, option.name)) for manifest in (there, here))
        if old != new:
            lines.append(f"  {option.name}: {_short(old)} there, {_short(new)} here")
    return lines


def _plan(value: Any) -> Any:
    """Leave the checksums and skipped images of splits out."""
    if isinstance(value, dict):
        return {name: _plan(item) for name, item in value.items()}
    return attrs.evolve(value, blocks_sha256=[], skipped=[]) if isinstance(value, SplitEntry) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]} ..."
