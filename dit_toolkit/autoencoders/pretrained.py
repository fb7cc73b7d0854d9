"""What the autoencoders of diffusers share: options, the reading of a folder, scaling."""

from __future__ import annotations

import hashlib
import logging
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen
from attrs.validators import ge, le, min_len

from dit_toolkit.components import Autoencoder, Shape
from dit_toolkit.errors import DataError
from dit_toolkit.progress import log

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Pretrained(Autoencoder):
    """An autoencoder of diffusers with frozen weights."""

    diffusers_class: ClassVar[str]
    path: str = field(validator=min_len(1))
    """A folder with config.json and safetensors weights (or with a folder `vae` of these), or a name on the hub."""
    latent_channels: int = field(default=4, validator=[ge(1), le(1024)])
    downsampling: int = field(default=8, validator=[ge(1), le(1024)])
    """Pixels for one of a latent; both are held against the config when the weights are loaded."""
    channels: Literal[1, 3] = 3
    """Of the images: 1 for an autoencoder that was trained on grey ones."""
    precision: Literal["fp32", "bf16"] = "fp32"
    slicing: bool = False
    """Take the images of a batch one after another, which saves memory."""
    tiling: bool = False
    """Take large images in overlapping tiles, which saves memory and changes the result a little."""

    @abstractmethod
    def stages(self, config: Any) -> int:
        """Count the resolutions of the encoder; each but the first halves the image."""

    @abstractmethod
    def codec(self, model: Any) -> PretrainedCodec:
        """Wrap the loaded model."""

    def latent_shape(self, image: Shape) -> Shape:
        """(latent_channels, height / downsampling, width / downsampling) of an image."""
        channels, height, width = image
        if channels != self.channels:
            kind = "RGB" if self.channels == 3 else "grey"
            raise ValueError(f"takes {kind} images; these have {channels} channel{'s' if channels != 1 else ''}")
        for axis, size in (("height", height), ("width", width)):
            if size % self.downsampling:
                raise ValueError(f"downsampling ({self.downsampling}) does not divide the {axis} of images ({size})")
        return self.latent_channels, height // self.downsampling, width // self.downsampling

    def load(self, device: str = "cpu") -> PretrainedCodec:
        """Load config and weights.

        Raises:
            DataError: they are not there, are not those of such an autoencoder, or of another latent shape.
        """
        import torch

        model = self._read()
        seen = model.config.latent_channels, 2 ** (self.stages(model.config) - 1)
        if seen != (self.latent_channels, self.downsampling):
            raise DataError(
                f"autoencoder.path: {self.path} has {seen[0]} latent channels and downsampling {seen[1]}; set "
                f"latent_channels = {seen[0]} and downsampling = {seen[1]} (now {self.latent_channels} and "
                f"{self.downsampling})"
            )
        if model.config.in_channels != self.channels:
            raise DataError(
                f"autoencoder.path: {self.path} takes images of {model.config.in_channels} channels; set "
                f"channels = {model.config.in_channels} (now {self.channels})"
            )
        if self.slicing:
            model.enable_slicing()
        if self.tiling:
            model.enable_tiling()
        dtype = torch.float32 if self.precision == "fp32" else torch.bfloat16
        # Not model.to, which warns of layers that should stay float32 where there are none.
        torch.nn.Module.to(model, device, dtype)
        return self.codec(model.eval().requires_grad_(False))

    def fingerprint(self) -> str | None:
        """SHA-256 of weights and scaling; None where they are not on this machine. The hub is not asked."""
        try:
            model = self._read(ask_hub=False)
        except DataError:
            return None
        digest = hashlib.sha256()
        for name, weight in sorted(model.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(weight.float().contiguous().numpy().tobytes())
        codec = self.codec(model)
        digest.update(f"{codec.shift.flatten().tolist()} {codec.scale.flatten().tolist()}".encode())
        return digest.hexdigest()

    def _read(self, *, ask_hub: bool = True) -> Any:
        """Read a folder, or ask the hub; float32, on the CPU."""
        try:
            import diffusers
        except ImportError as error:
            raise DataError(
                f"autoencoder.kind: {self.kind!r} needs the package diffusers ({error}); pip install 'dit-toolkit[vae]'"
            ) from None
        path, folder, cls = self.path, Path(self.path), getattr(diffusers, self.diffusers_class)
        if (folder / "vae" / "config.json").is_file():
            folder /= "vae"
        if folder.exists() and not (folder / "config.json").is_file():
            raise DataError(f"autoencoder.path: {path} holds no config.json of a diffusers {self.diffusers_class}")
        if not folder.exists() and (path.count("/") != 1 or path.startswith((".", "/"))):
            raise DataError(f"autoencoder.path: {path} is not there (nor a name on the hub, such as owner/name)")
        try:
            found, model, faults = _load(cls, folder, ask_hub=ask_hub and not folder.exists())
        except Exception as error:
            if folder.exists():
                raise DataError(
                    f"autoencoder.path: {path} cannot be read as a diffusers {self.diffusers_class} with safetensors "
                    f"weights: {' '.join(str(error).split())[:300]}"
                ) from None
            raise DataError(
                f"autoencoder.path: {path} is no folder here and cannot be had from the hub "
                f"({type(error).__name__}). Where there is a network, run `hf download {path} --local-dir DIR`, bring "
                "DIR here and set autoencoder.path = DIR"
            ) from None
        wrong = [*faults["missing_keys"], *faults["unexpected_keys"], *map(str, faults["mismatched_keys"])]
        if found != self.diffusers_class or wrong:
            named = f"weights that do not fit: {', '.join(wrong[:5])}" if wrong else f"a config of {found}"
            raise DataError(f"autoencoder.path: {path} is no diffusers {self.diffusers_class}: {named}")
        return model


def _load(cls: Any, folder: Path, *, ask_hub: bool) -> tuple[str, Any, dict[str, list[Any]]]:
    """Load from a folder, from what the hub gave before, or else from the hub: the config's class, model and faults."""
    for local in (True, False) if ask_hub else (True,):
        if not local:
            log(f"asking the hub for {folder}")
        try:
            with _quiet_hub():
                config = cls.load_config(str(folder), local_files_only=local)
                model, faults = cls.from_pretrained(
                    str(folder),
                    use_safetensors=True,
                    low_cpu_mem_usage=False,
                    output_loading_info=True,
                    local_files_only=local,
                )
            return config.get("_class_name", cls.__name__), model, faults
        except Exception as error:
            fault = error
    raise fault


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the hub's client from telling of each try; what it ends in is told by us."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)


class PretrainedCodec:
    """Encodes to (z - shift) * scale and back, with the factors of the config, each applied once."""

    def __init__(self, model: Any) -> None:
        import torch

        self.model, config = model, model.config
        shift = getattr(config, "latents_mean", None) or getattr(config, "shift_factor", None) or 0.0
        scale = torch.as_tensor(getattr(config, "scaling_factor", None) or 1.0, dtype=torch.float32)
        if getattr(config, "latents_std", None):
            scale = scale / torch.tensor(config.latents_std)
        self.shift = torch.as_tensor(shift, dtype=torch.float32, device=model.device).reshape(-1, 1, 1)
        self.scale = scale.to(model.device).reshape(-1, 1, 1)

    def raw(self, images: Tensor, generator: Generator | None) -> Tensor:  # noqa: ARG002 - for those that draw
        """Latents z (N, C, h, w) float32 of images (N, channels, H, W), unscaled; with a generator drawn anew."""
        import torch

        with torch.inference_mode():
            z: Tensor = self.model.encode(images.to(self.model.dtype), return_dict=False)[0]  # (N, C, h, w)
        return z.float()

    def encode(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Images (N, channels, H, W) in [-1, 1] to scaled latents (N, C, h, w); the mode without a generator."""
        scaled: Tensor = (self.raw(images, generator) - self.shift) * self.scale
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (N, C, h, w) to images (N, channels, H, W), float32."""
        import torch

        z = latents.float() / self.scale + self.shift
        with torch.inference_mode():
            images: Tensor = self.model.decode(z.to(self.model.dtype), return_dict=False)[0]  # (N, channels, H, W)
        return images.float()
