"""Where things are in the file of a split: a safetensors file whose latents start at a page of 4096 bytes."""

from __future__ import annotations

import json

from attrs import frozen

from dit_toolkit.latents.manifest import Manifest, SplitEntry

PAGE = 4096
DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}


@frozen(kw_only=True)
class Layout:
    """Offsets in bytes from the start of the file."""

    header: bytes
    """The length and the JSON text with which the file begins; the labels follow."""
    latents: int
    end: int


def layout(manifest: Manifest, entry: SplitEntry) -> Layout:
    """Lay out the file of a split; https://huggingface.co/docs/safetensors has the format."""
    labels, latents = 8 * entry.rows, entry.rows * manifest.row_bytes
    shape = [entry.rows, manifest.versions, manifest.parts, *manifest.latent]
    text = json.dumps(
        {
            "labels": {"dtype": "I64", "shape": [entry.rows], "data_offsets": [0, labels]},
            "latents": {
                "dtype": DTYPES[manifest.dtype],
                "shape": shape,
                "data_offsets": [labels, labels + latents],
            },
        }
    ).encode()
    begin = -(-(8 + len(text) + labels) // PAGE) * PAGE  # of the latents, rounded up to a page
    text = text.ljust(begin - labels - 8)
    header = len(text).to_bytes(8, "little") + text
    return Layout(header=header, latents=begin, end=begin + latents)
