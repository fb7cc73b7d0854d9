"""The caches of fast-DiT: two .npy files for each image, its label and a latent that has been drawn and scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_toolkit.errors import DataError
from dit_toolkit.files import some
from dit_toolkit.latents.caches.cache import FACTOR, Cache, Facts, numbers, refuse_label, whole_number
from dit_toolkit.latents.numpy_files import read_npy
from dit_toolkit.latents.scaling import Scaling
from dit_toolkit.progress import track


class FastDiT(Cache):
    """Folders `*_features` of latents (1, C, h, w) and `*_labels` of labels (1,), in files 0.npy, 1.npy, ..."""

    scaled = True

    def __init__(self, folder: Path, facts: Facts) -> None:
        features, labels = (_files(folder, ending) for ending in ("_features", "_labels"))
        for here, there in ((features, labels), (labels, features)):
            missing = [str(file) for name, file in here.items() if name not in there]
            if missing:
                raise DataError(
                    f"{folder}: there is no {'label' if here is features else 'latent'} for {some(missing)}"
                )
        self.files = [features[name] for name in sorted(features, key=_number)]
        label_files = [labels[file.name] for file in self.files]
        found = np.array([whole_number(read_npy(file), file) for file in track(label_files, "read labels")], np.int64)
        refuse_label(found, len(facts.names), lambda row: str(label_files[row]))
        super().__init__(
            folder,
            found,
            self._latent(0, None).shape,
            facts.names,
            Scaling(scale=(facts.factor or FACTOR,)),
            moments=False,
            flip=False,
            augmented=facts.augmented,
        )

    def name(self, row: int) -> str:
        """Path of the file."""
        return str(self.files[row])

    def read(self, rows: np.ndarray, mirrored: np.ndarray | int) -> Tensor:  # noqa: ARG002 - there are none
        """One scaled latent each, (N, 1, C, h, w) float32."""
        return torch.from_numpy(np.stack([self._latent(int(row), self.latent) for row in rows])[:, None])

    def _latent(self, row: int, shape: tuple[int, ...] | None) -> np.ndarray:
        array = read_npy(self.files[row])
        return numbers(array[0] if array.ndim == 4 and len(array) == 1 else array, shape, self.files[row])


def _files(folder: Path, ending: str) -> dict[str, Path]:
    """The .npy files by name in the one folder whose name ends so."""
    found = [path for path in folder.glob(f"*{ending}") if path.is_dir()]
    if len(found) != 1:
        raise DataError(f"{folder}: has {len(found)} folders *{ending}; expected one, such as imagenet256{ending}")
    files = {path.name: path for path in found[0].glob("*.npy")}
    if not files:
        raise DataError(f"{found[0]}: holds no .npy file")
    return files


def _number(name: str) -> tuple[int, str]:
    """By number, and what has none behind it by name."""
    stem = name.removesuffix(".npy")
    return (int(stem), "") if stem.isdecimal() else (2**63, stem)
