"""The autoencoder of latent diffusion, trained beforehand, frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from dit_toolkit.autoencoders.pretrained import Pretrained, PretrainedCodec

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class KL(Pretrained):
    """A diffusers `AutoencoderKL` (Rombach et al. 2022), such as that of Stable Diffusion: 8 x smaller, 4 channels."""

    kind = "kl"
    diffusers_class = "AutoencoderKL"

    def stages(self, config: Any) -> int:
        """Count the resolutions of the encoder."""
        return len(config.block_out_channels)

    def codec(self, model: Any) -> KLCodec:
        """Wrap the loaded model."""
        return KLCodec(model)


class KLCodec(PretrainedCodec):
    """Draws latents from the posterior N(mean, std^2) of an image."""

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior, unscaled, each (N, C, h, w) float32."""
        import torch

        with torch.inference_mode():
            posterior = self.model.encode(images.to(self.model.dtype)).latent_dist
        return posterior.mean.float(), posterior.std.float()

    def raw(self, images: Tensor, generator: Generator | None) -> Tensor:
        """Draw z (N, C, h, w) from the posterior, or take its mode."""
        mean, std = self.moments(images)
        return mean if generator is None else mean + std * generator.randn_like(mean)
