"""Components that need files, made once in a folder that goes when the tests end."""

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np
import timm
import torchvision

from dit_toolkit.autoencoders.dc import DC
from dit_toolkit.autoencoders.kl import KL
from dit_toolkit.autoencoders.tiny import Tiny
from dit_toolkit.datasets.arrays import Arrays
from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.datasets.latent_files import LatentFiles
from dit_toolkit.datasets.latents import Latents
from dit_toolkit.datasets.torchvision import Torchvision
from dit_toolkit.extractors.efficientnet_lite0 import EfficientNetLite0
from dit_toolkit.extractors.fashion import Fashion
from dit_toolkit.extractors.inception import Inception
from dit_toolkit.extractors.timm import Timm
from dit_toolkit.extractors.torchvision import Torchvision as Classifier
from dit_toolkit.nn import inception
from tests import caches
from tests.data import image_tree, save_dc, save_kl, save_tiny, write_store
from tests.extractors.networks import save_network

ROOT = Path(tempfile.mkdtemp(prefix="dit-toolkit-contract-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)

image_tree(ROOT / "images")
IMAGES = str(ROOT / "images")
MOMENTS = np.abs(np.random.default_rng(0).normal(size=(9, 2, 2, 4, 4, 4))).astype(np.float16)
write_store(ROOT / "latents", MOMENTS, splits=("train", "val"), image=(3, 32, 32), scale=[0.18215])
write_store(ROOT / "samples", MOMENTS[:, :1, :1].astype(np.float32), splits=("train", "val"), image=(3, 32, 32))
CACHES = {format: ROOT / format for format in ("cerebras", "fast-dit", "lightningdit")}
caches.cerebras(CACHES["cerebras"])
caches.cerebras(ROOT / "mirrored", seed=5)
caches.fast_dit(CACHES["fast-dit"], 60)
caches.lightningdit(CACHES["lightningdit"], (40, 20))
caches.npz(ROOT / "latents.npz", moments=True, count=60)
FILES = {"image_size": (32, 48), "num_classes": 3}
np.savez(
    ROOT / "x.npz", images=np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8), labels=np.arange(30) % 3
)

DATASETS = [
    ImageFolder(path=IMAGES, image_size=16, num_classes=3),
    ImageFolder(path=IMAGES, image_size=(16, 24), channels=1, num_classes=3, crop="random", flip=True),
    ImageFolder(path=f"{IMAGES}/train", image_size=16, num_classes=3, val_fraction=0.3),
    Arrays(path=str(ROOT / "x.npz"), image_size=8, num_classes=3, val_fraction=0.2),
    Arrays(path=str(ROOT / "x.npz"), image_size=(8, 12), channels=1, num_classes=3, flip=True, val_fraction=0.2),
    Torchvision(name="ImageFolder", root=f"{IMAGES}/train", image_size=16, num_classes=3, flip=True, val_fraction=0.3),
    Latents(path=str(ROOT / "latents"), image_size=32, num_classes=3),
    Latents(path=str(ROOT / "samples"), image_size=32, num_classes=3, memory="ram"),
    Latents(path=str(ROOT / "samples"), image_size=32, num_classes=3, memory="device"),
    *(LatentFiles(path=str(path), format=format, val_fraction=0.2, **FILES) for format, path in CACHES.items()),
    LatentFiles(path=str(CACHES["cerebras"]), format="cerebras", flipped=str(ROOT / "mirrored"), **FILES),
    LatentFiles(path=str(ROOT / "latents.npz"), format="npz", scaling_factor=0.5, **FILES),
]
PRETRAINED = [
    KL(path=str(save_kl(ROOT / "kl")), downsampling=2),
    Tiny(path=str(save_tiny(ROOT / "tiny")), downsampling=4),
    DC(path=str(save_dc(ROOT / "dc")), downsampling=4, latent_channels=8),
]
"""With random weights, which decode to anything."""
EXTRACTORS = [
    Inception(path=str(save_network(ROOT / "inception.pth", inception.Inception()))),
    EfficientNetLite0(),
    Timm(model="test_vit", path=str(save_network(ROOT / "vit.pth", timm.create_model("test_vit")))),
    Classifier(model="resnet18", path=str(save_network(ROOT / "resnet18.pth", torchvision.models.resnet18()))),
]
"""Those without a package likewise, but not so that their activations fade."""


class Quick(Inception):
    """Inception-v3 with the eyes of the classifier of Fashion-MNIST: its own take too long for a contract."""

    def __eq__(self, other):
        return isinstance(other, Inception)

    __hash__ = Inception.__hash__

    def fingerprint(self):
        return Fashion().fingerprint()

    def load(self, device="cpu"):
        see = Fashion().load(device)

        def seen(images):
            return {**(outputs := see(images)), "spatial": outputs["features"][:, ::2]}

        return seen
