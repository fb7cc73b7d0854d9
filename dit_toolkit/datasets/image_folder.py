"""Images in a folder for each class, in the layout of torchvision's ImageFolder and of ImageNet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import min_len

from dit_toolkit.datasets.names import CLASSES, read_names
from dit_toolkit.datasets.pictures import Crop, Pictures, PictureSplit
from dit_toolkit.datasets.size import image_size_field
from dit_toolkit.datasets.split import held_out
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.files import some
from dit_toolkit.progress import warn
from dit_toolkit.transforms import is_image, read_image

if TYPE_CHECKING:
    from PIL.Image import Image


@frozen(kw_only=True)
class ImageFolder(Pictures):
    """Images in folders `train/CLASS` and `val/CLASS`, or `CLASS` with a part held out; classes sorted by name."""

    kind = "image-folder"
    path: str = field(validator=min_len(1))
    """The folder of train and val, or of the classes."""
    image_size: int | tuple[int, int] = image_size_field(256)
    """Pixels of a side, or [height, width], to which images are resized and cropped."""
    crop: Crop = "centre"
    """How training images are cropped: in the middle as ADM does, or anywhere."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, from classes.json where it has them; numbers where the folder has others or none."""
        folders = _folders(self._train)
        if len(folders) != self.num_classes:
            return tuple(map(str, range(self.num_classes)))
        names = read_names(Path(self.path) / CLASSES)
        return tuple(names.get(folder, folder) for folder in folders)

    def check(self) -> None:
        """Refuse a folder that is not there."""
        if not Path(self.path).is_dir():
            raise MissingDataError(f"dataset.path: there is no folder {self.path}")

    def open(self, split: Literal["train", "val"]) -> ImageFolderSplit:
        """List the images of a split; DataError where a class has none or the classes are not as many as promised."""
        self.check()
        root, classes = Path(self.path), self._classes()
        own_val = self._train != root
        if own_val and split == "val":
            self._refuse_strange(root / "val", classes)
        files, labels = _list(root / split if own_val else root, classes, allow_empty=own_val and split == "val")
        if not own_val:
            mask = held_out(labels, self.val_fraction)
            chosen = np.flatnonzero(mask if split == "val" else ~mask)
            files, labels = [files[index] for index in chosen], labels[chosen]
        if not files:
            raise DataError(f"dataset.path: the {split} split of {self.path} is empty")
        return ImageFolderSplit(files, labels, self, augmented=split == "train")

    @property
    def _train(self) -> Path:
        """The folder that has a folder for each class."""
        root = Path(self.path)
        return root / "train" if (root / "train").is_dir() else root

    def _classes(self) -> list[str]:
        """Sorted names of the folders of classes."""
        found = _folders(self._train)
        if len(found) != self.num_classes:
            raise DataError(
                f"dataset.num_classes: {self.path} has {len(found)} classes ({some(found)}), not {self.num_classes}"
            )
        return found

    def _refuse_strange(self, folder: Path, classes: list[str]) -> None:
        if not folder.is_dir():
            raise DataError(f"dataset.path: {self.path} has a folder train, but none named val")
        strange = sorted(set(_folders(folder)) - set(classes))
        if strange:
            raise DataError(f"dataset.path: {folder} has classes that train lacks: {some(strange)}")


class ImageFolderSplit(PictureSplit):
    """The files of a split, by class and name."""

    def __init__(self, files: list[str], labels: np.ndarray, options: ImageFolder, *, augmented: bool) -> None:
        crop: Crop = options.crop if augmented else "centre"
        super().__init__(labels, options.shape, crop=crop, flip=options.flip and augmented)
        self.files = files

    def name(self, index: int) -> str:
        """Path of a file."""
        return self.files[index]

    def picture(self, index: int) -> Image:
        """Read a file."""
        return read_image(self.files[index])


def _folders(root: Path) -> list[str]:
    """Sorted names of the folders in a folder, hidden ones aside; none where it is not there."""
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> list[str]:
    """Sorted paths of the files in a folder, hidden ones aside; none where it is not there."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if entry.is_file() and not entry.name.startswith("."))


def _list(root: Path, classes: list[str], *, allow_empty: bool) -> tuple[list[str], np.ndarray]:
    """Paths of all images, by class and name, and their labels; other files are left out with a warning."""
    files: list[str] = []
    counts, others, empty = [], [], []
    for name in classes:
        found = _files(root / name)
        images = [file for file in found if is_image(file)]
        others += [file for file in found if not is_image(file)]
        files += images
        counts.append(len(images))
        if not images:
            empty.append(name)
    if empty and not allow_empty:
        raise DataError(f"dataset.path: {len(empty)} classes in {root} have no image: {some(empty)}")
    if others:
        warn(f"{root}: {len(others)} files are no images by their names and are left out: {some(others)}")
    return files, np.repeat(np.arange(len(classes)), counts)
