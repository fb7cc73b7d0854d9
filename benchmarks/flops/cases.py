"""The models that are counted and measured."""

import torch
from attrs import frozen

from benchmarks.conftest import VARIANTS
from dit_toolkit.build import build_network
from dit_toolkit.flops import SIZES
from dit_toolkit.patchifiers.conv import Conv
from dit_toolkit.recipe.schema import Model

CHANNELS, OUT_CHANNELS, DOWNSAMPLING, CLASSES = 4, 8, 8, 1000
"""Latents of Stable Diffusion's autoencoder, a learnt sigma, ImageNet."""


@frozen(kw_only=True)
class Case:
    size: str
    variant: str
    patch: int
    image_size: int

    @property
    def name(self):
        return f"{self.size}/{self.patch} {self.variant} {self.image_size}px"

    @property
    def latent(self):
        return CHANNELS, self.image_size // DOWNSAMPLING, self.image_size // DOWNSAMPLING

    @property
    def tokens(self):
        return (self.latent[1] // self.patch) ** 2

    @property
    def model(self):
        depth, hidden_size, num_heads = SIZES[self.size]
        return Model(
            hidden_size=hidden_size,
            depth=depth,
            num_heads=num_heads,
            num_classes=CLASSES,
            patchifier=Conv(patch_size=self.patch),
            block=VARIANTS[self.variant](),
        )

    def build(self):
        return build_network(self.model, self.latent, OUT_CHANNELS)

    def inputs(self, images, dtype=torch.float32, device="cpu"):
        """Latents, times and labels."""
        x = torch.randn(images, *self.latent, device=device, dtype=dtype)
        return x, torch.rand(images, device=device) * 1000, torch.arange(images, device=device) % CLASSES


def cases(options):
    """Those that the options of pytest ask for, smallest first."""
    return [
        Case(size=size, variant=variant, patch=patch, image_size=pixels)
        for size in options.size
        for variant in options.variant
        for pixels in options.image_size
        for patch in sorted(options.patch, reverse=True)
    ]
