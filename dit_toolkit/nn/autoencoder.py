"""The autoencoder of latent diffusion (Rombach et al. 2022) in training: the module of diffusers, called like a DiT."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dit_toolkit.errors import DataError
from dit_toolkit.recipe.autoencoder import AutoencoderModel

Output = tuple[Tensor, Tensor, Tensor]
"""Reconstructed image (N, C, H, W), and mean and log variance (N, c, h, w) of the posterior; at least float32."""


class Autoencoder(nn.Module):
    """Encodes, draws from the posterior with noise that is given, and decodes.

    Args:
        model: options of the recipe.
        channels: of the images.

    Raises:
        DataError: diffusers is not installed.
    """

    def __init__(self, model: AutoencoderModel, channels: int) -> None:
        super().__init__()
        self.kl = _diffusers().AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            latent_channels=model.latent_channels,
            block_out_channels=tuple(model.block_channels),
            down_block_types=("DownEncoderBlock2D",) * len(model.block_channels),
            up_block_types=("UpDecoderBlock2D",) * len(model.block_channels),
            layers_per_block=model.layers_per_block,
            norm_num_groups=model.norm_groups,
            scaling_factor=1.0,
        )

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (N, c, h, w) of the posterior of images x (N, C, H, W) in [-1, 1]."""
        hidden = self.kl.encoder(x.to(self.kl.dtype))  # (N, 2 c, h, w)
        mean, log_variance = self.kl.quant_conv(hidden).chunk(2, dim=1)  # (N, c, h, w), (N, c, h, w)
        return _float(mean), _float(log_variance).clamp(-30, 20)

    def decode(self, z: Tensor) -> Tensor:
        """Images (N, C, H, W) in about [-1, 1] of unscaled latents z (N, c, h, w)."""
        hidden = self.kl.post_quant_conv(z.to(self.kl.dtype))  # (N, c, h, w)
        return _float(self.kl.decoder(hidden))  # (N, C, H, W)

    def forward(self, x: Tensor, noise: Tensor, y: Tensor) -> Output:  # noqa: ARG002 - the call of every model
        """Reconstruct x (N, C, H, W) from z = mean + exp(log variance / 2) noise, for normal noise (N, c, h, w)."""
        mean, log_variance = self.moments(x)  # (N, c, h, w), (N, c, h, w)
        z = mean + (log_variance / 2).exp() * noise  # (N, c, h, w)
        return self.decode(z), mean, log_variance


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, summed over all but the first axis: (N,) (Kingma & Welling 2014, B)."""
    return ((mean**2 + log_variance.exp() - 1 - log_variance) / 2).flatten(1).sum(1)  # (N,)


def _float(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise DataError(
            f"model.kind: 'autoencoder-kl' needs the package diffusers ({error}); pip install 'dit-toolkit[vae]'"
        ) from None
    return diffusers
