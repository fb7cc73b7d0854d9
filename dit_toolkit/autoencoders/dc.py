"""The deep-compression autoencoder: 32 or 64 pixels for one of a latent."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.autoencoders.pretrained import Pretrained, PretrainedCodec


@frozen(kw_only=True)
class DC(Pretrained):
    """A diffusers `AutoencoderDC` (Chen et al. 2025, arXiv 2410.10733); the defaults are those of f32c32."""

    kind = "dc"
    diffusers_class = "AutoencoderDC"
    latent_channels: int = field(default=32, validator=[ge(1), le(1024)])
    downsampling: int = field(default=32, validator=[ge(1), le(1024)])
    """Pixels for one of a latent; both are held against the config when the weights are loaded."""

    def stages(self, config: Any) -> int:
        """Count the resolutions of the encoder."""
        return len(config.encoder_block_out_channels)

    def codec(self, model: Any) -> PretrainedCodec:
        """Wrap the loaded model."""
        return PretrainedCodec(model)
