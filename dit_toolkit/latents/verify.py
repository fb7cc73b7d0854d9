"""Whether a latent store is still what was written: every byte is read and compared with its checksum."""

from __future__ import annotations

from pathlib import Path

from dit_toolkit.errors import DataError
from dit_toolkit.files import sha256
from dit_toolkit.latents.layout import layout
from dit_toolkit.latents.manifest import NAME, Manifest, SplitEntry, read_manifest
from dit_toolkit.latents.reader import LatentSplit
from dit_toolkit.progress import track


def verify(folder: Path) -> Manifest:
    """Check the files of a store against its manifest, which is returned.

    Raises:
        DataError: one line for each block of rows, or file, that is damaged.
    """
    manifest = read_manifest(folder / NAME)
    faults: list[str] = []
    for split, entry in manifest.splits.items():
        try:
            LatentSplit(folder, manifest, split)  # size, header and labels
        except DataError as error:
            faults += error.lines
        else:
            faults += _damaged_blocks(folder / entry.file, manifest, entry)
    if faults:
        raise DataError(*faults)
    return manifest


def _damaged_blocks(path: Path, manifest: Manifest, entry: SplitEntry) -> list[str]:
    starts = range(0, entry.rows, manifest.block)
    if len(starts) != len(entry.blocks_sha256):
        return [f"{path}: the manifest has {len(entry.blocks_sha256)} checksums for {len(starts)} blocks"]
    faults = []
    with path.open("rb") as file:
        file.seek(layout(manifest, entry).latents)
        for number, start in enumerate(track(starts, f"verify {path.name} (blocks)")):
            rows = min(manifest.block, entry.rows - start)
            if sha256(file.read(rows * manifest.row_bytes)) != entry.blocks_sha256[number]:
                faults.append(f"{path}: rows {start} to {start + rows - 1} have changed since they were written")
    return faults
