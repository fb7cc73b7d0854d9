"""The classification data sets that torchvision knows, by name."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import min_len

from dit_toolkit.datasets.fashion import CLASS_NAMES
from dit_toolkit.datasets.pictures import Crop, Pictures, PictureSplit
from dit_toolkit.datasets.split import held_out
from dit_toolkit.errors import DataError
from dit_toolkit.transforms import READ_ERRORS

if TYPE_CHECKING:
    from PIL.Image import Image

LABELS = ("targets", "labels", "_labels", "y")
"""Where the data sets of torchvision keep their labels."""
NAMES = {
    "FashionMNIST": CLASS_NAMES,
    "CIFAR10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "STL10": ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
}
"""Names of classes, which torchvision itself tells only where the data are."""
VAL = ("val", "valid", "test")
"""What they call a split for validation, the first that a data set knows."""


@frozen(kw_only=True)
class Torchvision(Pictures):
    """A classification data set of torchvision, such as FashionMNIST, CIFAR10 or Flowers102."""

    kind = "torchvision"
    name: str = field(validator=min_len(1))
    """Name of a class in torchvision.datasets."""
    root: str = field(default="data", validator=min_len(1))
    """The folder that torchvision is given."""
    download: bool = False
    """Let torchvision download what is not there."""
    crop: Crop = "centre"
    """How training images are cropped: in the middle as ADM does, or anywhere."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of Fashion-MNIST, CIFAR-10 and STL-10; the numbers of the classes of others."""
        names = NAMES.get(self.name, ())
        return names if len(names) == self.num_classes else super().class_names

    def open(self, split: Literal["train", "val"]) -> TorchvisionSplit:
        """Open the data set; DataError where it is not there, of no known name or no classification."""
        items, own_split = self._make(split)
        labels = _labels(items, self.name)
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise DataError(
                f"dataset.num_classes: {self.name} has labels {labels.min()} to {labels.max()}, "
                f"but there are classes 0 to {self.num_classes - 1}"
            )
        mask = held_out(labels, self.val_fraction)
        chosen = np.arange(len(labels)) if own_split else np.flatnonzero(mask if split == "val" else ~mask)
        return TorchvisionSplit(items, chosen, labels[chosen], self, augmented=split == "train")

    def _make(self, split: Literal["train", "val"]) -> tuple[Any, bool]:
        """Construct torchvision's object, and say whether it is the split alone."""
        from torchvision import datasets

        cls: Any = getattr(datasets, self.name, None)
        base: Any = datasets.VisionDataset
        if cls is base or base not in getattr(cls, "__mro__", ()):
            raise DataError(f"dataset.name: torchvision has no data set {self.name!r}")
        known = inspect.signature(cls).parameters
        arguments: dict[str, Any] = {"root": self.root}
        if "download" in known:
            arguments["download"] = self.download
        try:
            if "train" in known:
                return cls(**arguments, train=split == "train"), True
            if "split" in known:
                return self._first(cls, arguments, ("train",) if split == "train" else VAL), True
            return cls(**arguments), False
        except (RuntimeError, OSError, ValueError, TypeError, ImportError) as error:
            text = " ".join(str(error).split())
            raise DataError(f"dataset: torchvision cannot open {self.name} in {self.root}: {text[:300]}") from None

    @staticmethod
    def _first(cls: Any, arguments: dict[str, Any], names: tuple[str, ...]) -> Any:
        """Construct with the first name of a split that the data set knows."""
        for name in names:
            try:
                return cls(**arguments, split=name)
            except ValueError as error:
                fault = error
        raise fault


class TorchvisionSplit(PictureSplit):
    """Some items of a data set of torchvision."""

    def __init__(
        self, items: Any, chosen: np.ndarray, labels: np.ndarray, options: Torchvision, *, augmented: bool
    ) -> None:
        crop: Crop = options.crop if augmented else "centre"
        super().__init__(labels, options.shape, crop=crop, flip=options.flip and augmented)
        self.items, self.chosen, self.source = items, chosen, options.name

    def name(self, index: int) -> str:
        """The data set and the place in it."""
        return f"{self.source}: image {self.chosen[index]}"

    def picture(self, index: int) -> Image:
        """Let torchvision read a picture."""
        try:
            picture: Image = self.items[int(self.chosen[index])][0].convert("RGB")
        except READ_ERRORS as error:
            raise DataError(f"{self.name(index)}: not a readable image ({error})") from None
        return picture


def _labels(items: Any, name: str) -> np.ndarray:
    """All labels int64 (len,), without reading the images."""
    found = next((getattr(items, attribute) for attribute in LABELS if hasattr(items, attribute)), None)
    labels = np.asarray(found if found is not None else [])
    if labels.shape != (len(items),) or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(f"dataset.name: {name} has no list of classes; it is no classification data set")
    return labels.astype(np.int64)
