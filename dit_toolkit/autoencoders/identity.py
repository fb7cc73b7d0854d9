"""No autoencoder: diffusion in pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from dit_toolkit.components import Autoencoder, Shape

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Identity(Autoencoder):
    """Latents are the images themselves, in [-1, 1]."""

    kind = "identity"

    def latent_shape(self, image: Shape) -> Shape:
        """Return the shape of the image."""
        return image

    def fingerprint(self) -> str:
        """Return the kind: there are no weights."""
        return self.kind

    def load(self, device: str = "cpu") -> IdentityCodec:  # noqa: ARG002 - nothing to place on a device
        """Return a codec without weights."""
        return IdentityCodec()


class IdentityCodec:
    """Passes everything through, bit for bit."""

    def encode(self, images: Tensor, generator: Generator | None = None) -> Tensor:  # noqa: ARG002 - no posterior
        """Return the images (N, C, H, W)."""
        return images

    def decode(self, latents: Tensor) -> Tensor:
        """Return the latents (N, C, H, W)."""
        return latents
