"""Checks of autoencoders, on the sizes of image that they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dit_toolkit.components import Autoencoder, Shape
from dit_toolkit.testing.inputs import generator, images

if TYPE_CHECKING:
    from torch import Tensor

SIZES: tuple[Shape, ...] = ((1, 32, 32), (3, 32, 32), (3, 64, 64))


def check_shapes(autoencoder: Autoencoder) -> None:
    """Latents have the shape that `latent_shape` says, decoded images that of the images."""
    for size in _sizes(autoencoder):
        x, codec = images(2, *size), autoencoder.load()
        latent, right = codec.encode(x), (2, *autoencoder.latent_shape(size))
        assert tuple(latent.shape) == right, f"images {size} become latents {tuple(latent.shape)}, expected {right}"
        decoded = tuple(codec.decode(latent).shape)
        assert decoded == tuple(x.shape), f"latents of {tuple(x.shape)} are decoded to {decoded}"


def check_decoded_images_are_in_range(autoencoder: Autoencoder) -> None:
    """What is decoded is finite and about in [-1, 1]."""
    for x, decoded in _decoded(autoencoder):
        assert decoded.isfinite().all(), f"{tuple(x.shape)}: decoded images are not finite"
        largest = float(decoded.abs().max())
        assert largest < 2, f"{tuple(x.shape)}: decoded images reach {largest:g}, expected about [-1, 1]"


def check_decoded_images_are_like_the_images(autoencoder: Autoencoder) -> None:
    """Decoded images are nearer to the images than a grey one is."""
    for x, decoded in _decoded(autoencoder):
        error = float((decoded - x).square().mean() / (x - x.mean()).square().mean())
        assert error < 1, f"{tuple(x.shape)}: the squared error of decoded images is {error:.2f} times their variance"


def check_mode_is_deterministic(autoencoder: Autoencoder) -> None:
    """Without a generator an image has one latent, and with one a latent by seed and sample index."""
    import torch

    codec, x = autoencoder.load(), images(3, *_sizes(autoencoder)[0])
    for index in (None, (4, 5, 6)):
        first, second = (codec.encode(x, index and generator(*index)) for _ in range(2))
        how = "without a generator" if index is None else "with the same generator"
        assert torch.equal(first, second), f"{how} the same images have other latents the second time"
        alone = codec.encode(x[1:2], index and generator(index[1]))
        assert torch.allclose(alone, first[1:2], atol=1e-3), f"{how} an image has another latent when it is alone"


def check_input_is_kept(autoencoder: Autoencoder) -> None:
    """Neither images nor latents are written to."""
    import torch

    codec, x = autoencoder.load(), images(2, *_sizes(autoencoder)[0])
    kept = x.clone()
    latent = codec.encode(x)
    assert torch.equal(x, kept), "encode() writes to the images"
    kept = latent.clone()
    codec.decode(latent)
    assert torch.equal(latent, kept), "decode() writes to the latents"


def _decoded(autoencoder: Autoencoder) -> list[tuple[Tensor, Tensor]]:
    codec = autoencoder.load()
    pairs = [images(2, *size) for size in _sizes(autoencoder)]
    return [(x, codec.decode(codec.encode(x.clone()).clone())) for x in pairs]


def _sizes(autoencoder: Autoencoder) -> list[Shape]:
    """The sizes of image that it takes."""
    fitting, refused = [], []
    for size in SIZES:
        try:
            autoencoder.latent_shape(size)
            fitting.append(size)
        except ValueError as error:
            refused.append(f"{size}: {error}")
    assert fitting, f"latent_shape refuses every image tried: {'; '.join(refused)}"
    return fitting
