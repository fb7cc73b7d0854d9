"""References: what extractors saw in real images, in a file that samples are compared with."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from dit_toolkit.components import Extractor
from dit_toolkit.errors import DataError
from dit_toolkit.files import aside, refuse_existing, sha256_of_file, storage
from dit_toolkit.images import MEMBER, read_npz
from dit_toolkit.imageset import ImageSet, Stored
from dit_toolkit.moments import Moments
from dit_toolkit.recipe.structure import unstructure

META = "meta"
VERSION = 1
ADM = {"features": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
"""Arrays of ADM's reference batches by the output of Inception-v3 whose mean and covariance they are."""


@frozen(kw_only=True)
class Reference:
    """Real images, or what was seen in them."""

    images: ImageSet
    facts: dict[str, Any] = field(factory=dict)
    """What the file says of itself and its SHA-256, as plain JSON."""


def write_reference(
    path: Path, images: ImageSet, extractors: Sequence[Extractor], facts: Mapping[str, Any], *, features: bool = False
) -> None:
    """Let extractors look at real images and write what they saw: mean and covariance of each output, float64.

    Args:
        path: an .npz file to write; it is there whole or not at all.
        images: what is looked at.
        extractors: who looks.
        facts: what to tell of the images, as plain JSON.
        features: write every output of every image too, float32, as distances between neighbours need them.

    Raises:
        DataError: the file is there already, or two extractors are of one kind.
        StorageError: the disk is full or not writable.
        Interrupted: something asked to stop; nothing is written.
    """
    refuse_existing(path)
    kinds = [extractor.kind for extractor in extractors]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise DataError(f"{path}: two extractors of kind {twice[0]!r}; a reference holds one of a kind, so write two")
    arrays: dict[str, np.ndarray] = {}
    seen = []
    for extractor in extractors:
        for output in images.outputs(extractor):
            moments, key = images.moments(extractor, output), f"{extractor.name}.{output}"
            arrays |= {f"{key}.mean": moments.mean, f"{key}.covariance": moments.covariance}
            if features:
                arrays[key] = images.seen(extractor, output)
            about = {"extractor": unstructure(extractor), "name": extractor.name, "output": output, "arrays": key}
            seen.append({**about, "fingerprint": extractor.fingerprint(), "count": moments.count})
    meta = {"reference": VERSION, "count": len(images), **facts, "seen": seen}
    if images.labelled and features:
        arrays["labels"] = images.labels
    with storage(path), aside(path) as file:
        np.savez(file, **{META: np.array(json.dumps(meta))}, **arrays)  # type: ignore[arg-type]
        refuse_existing(path)  # It took a while.


def read_reference(path: Path, device: str = "cpu") -> Reference:
    """Read what `write_reference` wrote, an ADM reference batch, or images as samples are.

    Of an ADM batch the images `arr_0` are mapped and not held in memory, and `mu`, `sigma`, `mu_s`, `sigma_s` are taken
    for the features and the spatial features of Inception-v3 as they are; any of these may be missing.

    Raises:
        DataError: the file is missing, damaged, or none of these.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; a reference is made by `dit-toolkit reference RECIPE --out {path}`")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: cannot be read as an .npz file (it is no zip file, or cut off)")
    try:
        digest = sha256_of_file(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = set(arrays.files)
            if META in names:
                return _read_own(path, arrays, device, digest)
            for pair in ADM.values():
                if len(names.intersection(pair)) == 1:
                    raise DataError(f"{path}: holds one of {pair[0]} and {pair[1]} alone; a distance needs both")
            stored = {
                ("inception", output): Stored(None, _moments(path, arrays, *pair))
                for output, pair in ADM.items()
                if names.issuperset(pair)
            }
    except DataError:
        raise
    except Exception as error:  # a damaged file may fail in any way
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as an .npz file ({reason})") from None
    if not stored and MEMBER.removesuffix(".npy") not in names:
        held = ", ".join(sorted(names)) or "nothing"
        raise DataError(
            f"{path}: is no reference; it holds {held}. One is made by `dit-toolkit reference`, and ADM's have arr_0, "
            "mu, sigma, mu_s and sigma_s"
        )
    pixels = read_npz(path) if MEMBER.removesuffix(".npy") in names else None
    images = ImageSet(pixels, stored=stored, device=device, name=str(path))
    facts: dict[str, Any] = {"count": len(images) or None, "adm": bool(stored), "sha256": digest}
    if pixels is not None:
        facts["image"] = [3, *pixels.shape[1:3]]
    return Reference(images=images, facts=facts)


def _read_own(path: Path, arrays: Any, device: str, digest: str) -> Reference:
    try:
        meta = json.loads(str(arrays[META]))
        version = meta["reference"]
        if version != VERSION:
            raise DataError(f"{path}: is a reference of version {version}; this release reads version {VERSION}")
        stored, extractors = {}, []
        for each in meta.pop("seen"):
            if each["extractor"] not in extractors:
                extractors.append(each["extractor"])
            key = each["arrays"]
            moments = _moments(path, arrays, f"{key}.mean", f"{key}.covariance", int(each["count"]))
            values = _values(path, arrays, key, moments) if key in arrays.files else None
            stored[each["extractor"]["kind"], each["output"]] = Stored(each["fingerprint"], moments, values)
        labels = _labels(path, arrays, int(meta["count"])) if "labels" in arrays.files else None
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is no whole reference ({type(error).__name__}: {error})") from None
    meta |= {"extractors": extractors, "sha256": digest}
    return Reference(images=ImageSet(None, labels, stored=stored, device=device, name=str(path)), facts=meta)


def _values(path: Path, arrays: Any, key: str, moments: Moments) -> np.ndarray:
    """What was seen in each image (N, D) float32, as many as the moments are of."""
    values: np.ndarray = arrays[key]
    shape = (moments.count, len(moments.mean))
    if values.dtype != np.float32 or values.shape != shape:
        raise DataError(f"{path}: {key} is {values.dtype} {values.shape}; expected float32 {shape}")
    if broken := int((~np.isfinite(values)).any(axis=1).sum()):
        raise DataError(f"{path}: {key} of {broken} of {len(values)} images hold values that are not finite")
    return values


def _labels(path: Path, arrays: Any, count: int) -> np.ndarray:
    """The class of each image, (N,) int64."""
    labels: np.ndarray = arrays["labels"]
    if labels.dtype != np.int64 or labels.shape != (count,) or (labels < 0).any():
        raise DataError(f"{path}: labels are {labels.dtype} {labels.shape}; expected int64 ({count},), from 0 up")
    return labels


def _moments(path: Path, arrays: Any, mean: str, covariance: str, count: int = 0) -> Moments:
    """Moments of two arrays; 0 images where the file does not say how many there were."""
    a, b = arrays[mean].astype(np.float64), arrays[covariance].astype(np.float64)
    if a.ndim != 1 or b.shape != (len(a), len(a)):
        raise DataError(f"{path}: {mean} has shape {a.shape} and {covariance} {b.shape}; expected (D,) and (D, D)")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError(f"{path}: {mean} or {covariance} hold values that are not finite")
    return Moments(count, a, b)
