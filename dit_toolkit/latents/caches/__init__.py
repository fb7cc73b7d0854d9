"""Latents in files of other programs, one format to a file."""

from __future__ import annotations

from typing import Literal

Format = Literal["cerebras", "fast-dit", "lightningdit", "npz"]
