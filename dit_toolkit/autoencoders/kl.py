"""The autoencoder of latent diffusion, trained beforehand, frozen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import ge, le, min_len

from dit_toolkit.components import Autoencoder, Shape
from dit_toolkit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class KL(Autoencoder):
    """A diffusers `AutoencoderKL` (Rombach et al. 2022), such as that of Stable Diffusion: 8 x smaller, 4 channels."""

    kind = "kl"
    path: str = field(validator=min_len(1))
    """A folder with config.json and safetensors weights (or with a folder `vae` of these), or a name on the hub."""
    latent_channels: int = field(default=4, validator=[ge(1), le(1024)])
    downsampling: int = field(default=8, validator=[ge(1), le(1024)])
    """Pixels for one of a latent; both are held against the config when the weights are loaded."""
    precision: Literal["fp32", "bf16"] = "fp32"
    slicing: bool = False
    """Take the images of a batch one after another, which saves memory."""
    tiling: bool = False
    """Take large images in overlapping tiles, which saves memory and changes the result a little."""

    def latent_shape(self, image: Shape) -> Shape:
        """(latent_channels, height / downsampling, width / downsampling) of an RGB image."""
        channels, height, width = image
        if channels != 3:
            raise ValueError(f"takes RGB images; these have {channels} channel{'s' if channels != 1 else ''}")
        for axis, size in (("height", height), ("width", width)):
            if size % self.downsampling:
                raise ValueError(f"downsampling ({self.downsampling}) does not divide the {axis} of images ({size})")
        return self.latent_channels, height // self.downsampling, width // self.downsampling

    def load(self, device: str = "cpu") -> KLCodec:
        """Load config and weights.

        Raises:
            DataError: they are not there, are not those of such an autoencoder, or of another latent shape.
        """
        import torch

        model = _read(self.path)
        seen = model.config.latent_channels, 2 ** (len(model.config.block_out_channels) - 1)
        if seen != (self.latent_channels, self.downsampling):
            raise DataError(
                f"autoencoder.path: {self.path} has {seen[0]} latent channels and downsampling {seen[1]}; set "
                f"latent_channels = {seen[0]} and downsampling = {seen[1]} (now {self.latent_channels} and "
                f"{self.downsampling})"
            )
        if self.slicing:
            model.enable_slicing()
        if self.tiling:
            model.enable_tiling()
        dtype = torch.float32 if self.precision == "fp32" else torch.bfloat16
        return KLCodec(model.to(device, dtype).eval().requires_grad_(False))


class KLCodec:
    """Encodes to (z - shift) * scale and back, with the factors of the config, each applied once."""

    def __init__(self, model: Any) -> None:
        import torch

        self.model, config = model, model.config
        shift = getattr(config, "latents_mean", None) or getattr(config, "shift_factor", None) or 0.0
        scale = torch.as_tensor(config.scaling_factor, dtype=torch.float32)
        if getattr(config, "latents_std", None):
            scale = scale / torch.tensor(config.latents_std)
        self.shift = torch.as_tensor(shift, dtype=torch.float32, device=model.device).reshape(-1, 1, 1)
        self.scale = scale.to(model.device).reshape(-1, 1, 1)

    def encode(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] to latents (N, C, h, w): a sample of the posterior, or its mode."""
        mean, std = self.moments(images)
        return self.normalise(mean if generator is None else mean + std * generator.randn_like(mean))

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior, unscaled, each (N, C, h, w) float32."""
        import torch

        with torch.inference_mode():
            posterior = self.model.encode(images.to(self.model.dtype)).latent_dist
        return posterior.mean.float(), posterior.std.float()

    def normalise(self, z: Tensor) -> Tensor:
        """Scale raw latents (N, C, h, w) as the diffusion sees them."""
        scaled: Tensor = (z - self.shift.to(z)) * self.scale.to(z)
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (N, C, h, w) to images (N, 3, H, W), float32."""
        import torch

        z = latents.float() / self.scale + self.shift
        with torch.inference_mode():
            images: Tensor = self.model.decode(z.to(self.model.dtype)).sample.float()  # (N, 3, H, W)
        return images


def _read(path: str) -> Any:
    """Read a folder, or ask the hub."""
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise DataError(
            f"autoencoder.kind: 'kl' needs the package diffusers ({error}); pip install 'dit-toolkit[vae]'"
        ) from None
    folder = Path(path)
    if (folder / "vae" / "config.json").is_file():
        folder /= "vae"
    if folder.exists() and not (folder / "config.json").is_file():
        raise DataError(f"autoencoder.path: {path} holds no config.json of a diffusers AutoencoderKL")
    if not folder.exists() and (path.count("/") != 1 or path.startswith((".", "/"))):
        raise DataError(f"autoencoder.path: {path} is not there (nor a name on the hub, such as owner/name)")
    try:
        kind = AutoencoderKL.load_config(str(folder)).get("_class_name", "AutoencoderKL")
        read: Any = AutoencoderKL.from_pretrained
        model, faults = read(str(folder), use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True)
    except Exception as error:
        if folder.exists():
            raise DataError(
                f"autoencoder.path: {path} cannot be read as a diffusers AutoencoderKL with safetensors weights: "
                f"{' '.join(str(error).split())[:300]}"
            ) from None
        raise DataError(
            f"autoencoder.path: {path} is no folder here and cannot be had from the hub "
            f"({type(error).__name__}). Where there is a network, run `hf download {path} --local-dir DIR`, bring DIR "
            "here and set autoencoder.path = DIR"
        ) from None
    wrong = [*faults["missing_keys"], *faults["unexpected_keys"], *map(str, faults["mismatched_keys"])]
    if kind != "AutoencoderKL" or wrong:
        named = f"weights that do not fit: {', '.join(wrong[:5])}" if wrong else f"a config of {kind}"
        raise DataError(f"autoencoder.path: {path} is no diffusers AutoencoderKL: {named}")
    return model
