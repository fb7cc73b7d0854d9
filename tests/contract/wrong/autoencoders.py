import torch

from dit_toolkit.autoencoders.identity import Identity, IdentityCodec
from tests.contract.wrong import wrong


class Codec(IdentityCodec):
    def __init__(self, encode=None, decode=None):
        if encode:
            self.encode = encode
        if decode:
            self.decode = decode


@wrong("shapes")
class Cropping(Identity):
    def load(self, device="cpu"):
        return Codec(lambda x, generator=None: x.repeat(1, 2, 1, 1), lambda z: z[:, : z.shape[1] // 2])


@wrong("decoded_images_are_in_range")
class Bytes(Identity):
    """Leaves single pixels far out of range."""

    def load(self, device="cpu"):
        def decode(latents):
            out = latents.clone()
            out[..., 0, 0] = 5
            return out

        return Codec(decode=decode)


@wrong("decoded_images_are_like_the_images")
class Negative(Identity):
    def load(self, device="cpu"):
        return Codec(decode=lambda latents: -latents)


@wrong("mode_is_deterministic")
class AlwaysSampling(Identity):
    def load(self, device="cpu"):
        return Codec(lambda x, generator=None: x + 0.01 * torch.randn_like(x))


@wrong("mode_is_deterministic")
class LeakingBatch(Identity):
    def load(self, device="cpu"):
        return Codec(lambda x, generator=None: x - 0.1 * x.mean(0))


@wrong("input_is_kept")
class InPlace(Identity):
    def load(self, device="cpu"):
        return Codec(decode=lambda latents: latents.mul_(0.99))
