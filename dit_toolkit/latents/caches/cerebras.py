"""The caches of Cerebras' Model Zoo: an .npz file for each image, with its posterior as the encoder gives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_toolkit.errors import DataError
from dit_toolkit.files import some
from dit_toolkit.latents.caches.cache import FACTOR, Cache, Facts, numbers, whole_number
from dit_toolkit.latents.numpy_files import read_npz
from dit_toolkit.latents.scaling import Scaling

LIMITS = -30.0, 20.0
"""To which the logarithm of the variance is clamped (Rombach et al. 2022, as in their code and diffusers')."""


class Cerebras(Cache):
    """Files CLASS/*.npz with `vae_output` (2C, h, w), unscaled mean and logarithm of the variance, and `label`.

    The latents of mirrored images are in a tree of their own, of the same names.
    """

    def __init__(self, folder: Path, facts: Facts) -> None:
        folders = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        known = sorted(facts.classes) if facts.classes else folders
        if strange := sorted(set(folders) - set(known)):
            raise DataError(f"{folder}: has folders that are no classes: {some(strange)}")
        if facts.num_classes is not None and len(known) != facts.num_classes:
            raise DataError(f"{folder}: has {len(known)} classes ({some(known)}), not {facts.num_classes}")
        self.files: list[Path] = []
        labels: list[int] = []
        for name in folders:
            found = sorted((folder / name).glob("*.npz"))
            if not found:
                raise DataError(f"{folder / name}: holds no .npz file")
            self.files += found
            labels += [known.index(name)] * len(found)
        if not self.files:
            raise DataError(f"{folder}: holds no folder of a class with .npz files")
        self.flipped = facts.flipped
        if self.flipped:
            self._refuse_missing(folder, self.flipped)
        [first] = read_npz(self.files[0], ["vae_output"])
        self._shape = numbers(first, None, self.files[0]).shape
        if self._shape[0] % 2:
            raise DataError(
                f"{self.files[0]}: vae_output has {self._shape[0]} channels; expected an even number, for mean and "
                "logarithm of the variance"
            )
        super().__init__(
            folder,
            np.array(labels, dtype=np.int64),
            (self._shape[0] // 2, *self._shape[1:]),
            [facts.classes[name] for name in known] if facts.classes else known,
            facts.scaling or Scaling(scale=(FACTOR,)),
            moments=True,
            flip=self.flipped is not None,
            augmented=facts.augmented,
        )

    def name(self, row: int) -> str:
        """Path of the file."""
        return str(self.files[row])

    def read(self, rows: np.ndarray, mirrored: np.ndarray | int) -> Tensor:
        """Mean and standard deviation, (N, 2, C, h, w) float32."""
        stored = np.empty((len(rows), 2, *self.latent), np.float32)
        for place, (row, other) in enumerate(zip(rows, np.broadcast_to(mirrored, rows.shape), strict=True)):
            file = self.files[row]
            mean, log_variance = np.split(self._moments(self._mirror(file) if other else file, int(row)), 2)
            stored[place] = mean, np.exp(0.5 * np.clip(log_variance, *LIMITS))
        return torch.from_numpy(stored)

    def _moments(self, file: Path, row: int) -> np.ndarray:
        latent, label = read_npz(file, ["vae_output", "label"])
        if (found := whole_number(label, file)) != self.all_labels[row]:
            raise DataError(
                f"{file}: its label is {found}, but its folder is number {self.all_labels[row]} of the classes by name"
            )
        return numbers(latent, self._shape, file)

    def _mirror(self, file: Path) -> Path:
        return Path(self.flipped or "", file.parent.name, file.name)

    def _refuse_missing(self, folder: Path, flipped: Path) -> None:
        missing = [str(self._mirror(file)) for file in self.files if not self._mirror(file).is_file()]
        if missing:
            raise DataError(f"{flipped}: lacks mirrored images of {folder}: {some(missing)}")
