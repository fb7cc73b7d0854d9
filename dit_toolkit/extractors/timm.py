"""Networks of timm, with weights of theirs that lie on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import ge, le, matches_re, min_len, optional

from dit_toolkit.components import Extractor, See
from dit_toolkit.errors import DataError
from dit_toolkit.extractors.looking import Looking
from dit_toolkit.extractors.weights import OPTION, compare, fingerprint, locate, read_state
from dit_toolkit.files import some

if TYPE_CHECKING:
    from torch import Tensor, nn


@frozen(kw_only=True)
class Timm(Extractor):
    """A network of timm: what its classifier is given as features, and its logits where it has one.

    Images go through the transforms that belong to the model. Of vision transformers that were trained without labels,
    such as DINOv2, the features are the class token.
    """

    kind = "timm"
    model: str = field(validator=matches_re(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)?"))
    """Name of the model and its weights, such as "vit_large_patch14_dinov2.lvd142m"."""
    path: str = field(validator=min_len(1))
    """The file of these weights: .safetensors, .bin or .pth."""
    size: int | None = field(default=None, validator=optional([ge(1), le(4_096)]))
    """Height and width to which images are resized; those of the model unless given."""
    batch_size: int = field(default=50, validator=[ge(1), le(10_000)])
    """Images that go through the network at once."""

    @property
    def name(self) -> str:
        """The model, and the size where one is given: `vit_large_patch14_dinov2.lvd142m-224`."""
        return f"{self.model}-{self.size}" if self.size else self.model

    def fingerprint(self) -> str:
        """SHA-256 of the weights, and what decides the transforms."""
        return f"{self.name} {fingerprint(self._file(), self._what())} {self._config()}"

    def load(self, device: str = "cpu") -> See:
        """Return what gives "features" (N, D) and, of classifiers, "logits" (N, classes).

        Raises:
            MissingDataError: there is no file at `path`.
            DataError: timm is not installed or has no such model, the file holds another network, or the size does not
                fit the model.
        """
        config = self._config()
        network = self._network()
        if self.size:
            self._resize(network, self.size)
        from timm.data import create_transform

        return Looking(_Headed(network.to(device), create_transform(**config).transforms), device, self.batch_size)

    def _network(self) -> nn.Module:
        """The network with the weights of the file, in evaluation mode."""
        import timm

        path, what = self._file(), self._what()
        state = read_state(path, what)
        overlay = {"state_dict": dict(state), "custom_load": False}
        try:
            # An empty table would send timm to its hub.
            network: nn.Module = timm.create_model(self.model, pretrained=bool(state), pretrained_cfg_overlay=overlay)
        except (RuntimeError, LookupError, AttributeError, AssertionError, TypeError, ValueError) as error:
            compare(timm.create_model(self.model), state, path, what)
            raise DataError(f"{OPTION}: {path} cannot be loaded; it takes {what} ({error})") from None
        if not state:
            compare(network, state, path, what)
        return network.eval().requires_grad_(False)

    def _resize(self, network: Any, size: int) -> None:
        """Fit the positions of a transformer to another size of images; convolutions take any."""
        patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))
        if any(size % length for length in patch):
            raise DataError(f"extractor.size: {self.model} has patches of {patch[0]}, which do not divide {size}")
        if hasattr(network, "set_input_size"):
            network.set_input_size(size)

    def _config(self) -> dict[str, Any]:
        """What decides the transforms: size, interpolation, crop, mean and standard deviation."""
        try:
            import timm
            from timm.data import resolve_data_config
        except ImportError as error:
            raise DataError(
                f"extractor.kind: {self.kind!r} needs the package timm ({error}); pip install 'dit-toolkit[evaluate]'"
            ) from None
        architecture = self.model.partition(".")[0]
        known = timm.list_pretrained(f"{architecture}.*")
        if self.model not in (*known, *timm.list_models(architecture)):
            hint = f"; it has {some(known)}" if known else ""
            raise DataError(f"extractor.model: timm has no {self.model!r}{hint}")
        size = {"input_size": (3, self.size, self.size)} if self.size else {}
        cfg = timm.get_pretrained_cfg(self.model)
        config: dict[str, Any] = resolve_data_config(size, pretrained_cfg=cfg.to_dict() if cfg else {})
        return config

    def _file(self) -> Path:
        name = self.model
        return locate(self.path, [f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors"], self._what())

    def _what(self) -> str:
        return f"the weights of timm's {self.model}"


class _Headed:
    """What the head of a network is given, and its logits."""

    def __init__(self, network: nn.Module, transforms: list[Any]) -> None:
        from timm.data.transforms import MaybeToTensor

        self.network = network
        pixels = next(i for i, each in enumerate(transforms) if isinstance(each, MaybeToTensor))
        self.on_pixels, self.on_floats = transforms[:pixels], transforms[pixels + 1 :]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        x = images  # uint8 (N, 3, H, W), also while it is resized, so that no cubic filter overshoots
        for transform in self.on_pixels:
            x = transform(x)
        x = x.float() / 255
        for transform in self.on_floats:
            x = transform(x)
        network: Any = self.network
        maps = network.forward_features(x)
        features = network.forward_head(maps, pre_logits=True).flatten(1)  # (N, D)
        if not network.num_classes:
            return {"features": features}
        return {"features": features, "logits": network.forward_head(maps)}
