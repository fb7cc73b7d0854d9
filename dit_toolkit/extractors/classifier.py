"""The classifier of Fashion-MNIST that comes with the package."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from dit_toolkit.errors import DataError

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from dit_toolkit.nn.classifier import Classifier

WEIGHTS = files(__package__) / "fashion-classifier.safetensors"
SHA256 = "e6dfb3de04ada1af9fbf32f91a4a97e010bfd2e5550347c64b395e0416ec55b6"
NUM_CLASSES = 10
MAX_SIZE = 32
BATCH = 500


def classify(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 10) and penultimate features (N, 128), float32, of `images` uint8 (N, S, S, 3), 28 <= S <= 32.

    Colours are averaged and the middle 28 x 28 pixels taken, which is the whole of a padded image.

    Raises:
        DataError: the images have another size, or the weights are missing or damaged.
    """
    import torch

    from dit_toolkit.nn.classifier import SIZE

    height, width = images.shape[1:3]
    if height < SIZE or width < SIZE or max(height, width) > MAX_SIZE:
        raise DataError(f"images are {width} x {height}; the Fashion-MNIST classifier takes 28 x 28 to 32 x 32")
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    model, logits, features = load(), [], []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH, top : top + SIZE, left : left + SIZE]  # (B, 28, 28, 3)
        x = torch.from_numpy(part.mean(3, dtype=np.float32) / 255)[:, None]  # (B, 1, 28, 28)
        with torch.inference_mode():
            scores, hidden = model(x)
        logits.append(scores.numpy())
        features.append(hidden.numpy())
    return np.concatenate(logits), np.concatenate(features)


@functools.cache
def load() -> Classifier:
    """Build the classifier with its weights, once per process, in evaluation mode on the CPU."""
    from safetensors.torch import load as load_safetensors

    from dit_toolkit.nn.classifier import Classifier

    state = load_safetensors(read(WEIGHTS))
    model = Classifier(NUM_CLASSES)
    model.load_state_dict({name: weight.float() for name, weight in state.items()}, strict=False)
    return model.eval().requires_grad_(False)


def metadata() -> dict[str, str]:
    """What the file says about itself: accuracy on the held-out images, data, command."""
    packed = read(WEIGHTS)
    length = int.from_bytes(packed[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(packed[8 : 8 + length])
    return header["__metadata__"]


def read(path: Traversable) -> bytes:
    """Read the weights after checking their SHA-256; DataError where they are missing or others."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); reinstall dit-toolkit") from error
    seen = hashlib.sha256(packed).hexdigest()
    if seen != SHA256:
        raise DataError(f"{path}: SHA-256 is {seen}, expected {SHA256}; reinstall dit-toolkit")
    return packed
