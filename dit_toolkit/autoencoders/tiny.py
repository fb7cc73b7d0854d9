"""A small, fast stand-in for the autoencoder of Stable Diffusion."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from dit_toolkit.autoencoders.pretrained import Pretrained, PretrainedCodec


@frozen(kw_only=True)
class Tiny(Pretrained):
    """A diffusers `AutoencoderTiny` (TAESD, github.com/madebyollin/taesd): the latents of another, in far less time."""

    kind = "tiny"
    diffusers_class = "AutoencoderTiny"

    def stages(self, config: Any) -> int:
        """Count the resolutions of the encoder."""
        return len(config.encoder_block_out_channels)

    def codec(self, model: Any) -> PretrainedCodec:
        """Wrap the loaded model."""
        return PretrainedCodec(model)
