"""The hooks of data: autoencoders and datasets."""

from __future__ import annotations

from collections.abc import Iterable

from dit_toolkit.components import Autoencoder, Dataset
from dit_toolkit.hookspecs.markers import hookspec


@hookspec
def register_autoencoders() -> Iterable[type[Autoencoder]]:
    '''Return the autoencoders this plugin offers.

    A complete plugin::

        from attrs import frozen
        from torch import nn

        from dit_toolkit import Autoencoder, hookimpl


        class ShuffleCodec:
            def encode(self, images, generator=None):
                return nn.functional.pixel_unshuffle(images, 2)

            def decode(self, latents):
                return nn.functional.pixel_shuffle(latents, 2)


        @frozen(kw_only=True)
        class Shuffle(Autoencoder):
            """Puts 2 x 2 pixels into 4 channels; without loss, and without weights."""

            kind = "pixel-shuffle"

            def latent_shape(self, image):
                channels, height, width = image
                if height % 2 or width % 2:
                    raise ValueError(f"images of {height} x {width} pixels have an odd side")
                return 4 * channels, height // 2, width // 2

            def load(self, device="cpu"):
                return ShuffleCodec()


        @hookimpl
        def register_autoencoders():
            return [Shuffle]
    '''


@hookspec
def register_datasets() -> Iterable[type[Dataset]]:
    '''Return the datasets this plugin offers.

    A complete plugin::

        import numpy as np
        import torch
        from attrs import frozen

        from dit_toolkit import Dataset, hookimpl


        class Squares:
            def __init__(self, labels, size):
                self.labels, self.size = labels, size

            def __len__(self):
                return len(self.labels)

            def batch(self, indices, generator=None):
                y = torch.from_numpy(self.labels[indices])
                x = torch.full((len(y), 1, self.size, self.size), -1.0)
                side = (self.size // 4) * (1 + y)
                for image, n in zip(x, side):
                    image[:, :n, :n] = 1
                return x, y


        @frozen(kw_only=True)
        class Corner(Dataset):
            """White squares of three sizes in a corner."""

            kind = "corner"
            image_size: int = 16

            @property
            def shape(self):
                return 1, self.image_size, self.image_size

            @property
            def class_names(self):
                return "small", "middle", "large"

            def open(self, split):
                return Squares(np.arange(900 if split == "train" else 90) % 3, self.image_size)


        @hookimpl
        def register_datasets():
            return [Corner]
    '''
