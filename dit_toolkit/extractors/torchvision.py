"""Classifiers of torchvision, with weights of theirs that lie on this machine."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import ge, le, matches_re

from dit_toolkit.components import Extractor, See
from dit_toolkit.errors import DataError
from dit_toolkit.extractors.looking import Looking
from dit_toolkit.extractors.weights import OPTION, compare, fingerprint, locate, read_state

if TYPE_CHECKING:
    from torch import Tensor, nn


@frozen(kw_only=True)
class Torchvision(Extractor):
    """A classification model of torchvision: its logits, and as features the input of its last linear layer.

    Images go through the transforms that belong to the weights: resizing, cropping, mean and standard deviation.
    """

    kind = "torchvision"
    model: str = field(validator=matches_re(r"[a-z][a-z0-9_]*"))
    """Name of the model, such as "resnet50"."""
    weights: str = field(default="DEFAULT", validator=matches_re(r"[A-Z][A-Z0-9_]*"))
    """Which of its weights, such as "IMAGENET1K_V1"; torchvision's choice unless given."""
    path: str | None = None
    """The file of these weights; looked for in torch.hub's folder unless given."""
    batch_size: int = field(default=50, validator=[ge(1), le(10_000)])
    """Images that go through the network at once."""

    @property
    def name(self) -> str:
        """The model, and its weights where they are not the default: `resnet50`."""
        return self.model if self.weights == "DEFAULT" else f"{self.model}-{self.weights}"

    def fingerprint(self) -> str:
        """SHA-256 of the weights, and the transforms."""
        chosen = self._weights()
        return f"{self.model} {fingerprint(self._file(chosen), self._what())} {chosen.transforms()}"

    def load(self, device: str = "cpu") -> See:
        """Return what gives "features" (N, D) and "logits" (N, classes).

        Raises:
            MissingDataError: the weights are not on this machine.
            DataError: torchvision has no such model, or the file holds another network.
        """
        chosen = self._weights()
        network = self._network(chosen)
        return Looking(_Both(network.to(device), chosen.transforms()), device, self.batch_size)

    def _network(self, chosen: Any) -> nn.Module:
        """The network as torchvision builds it for these weights, in evaluation mode.

        The weights decide more than numbers: the size of images, how inputs are scaled, older names.
        """
        import torchvision

        path, what = self._file(chosen), self._what()
        state = read_state(path, what)
        try:
            network: nn.Module = torchvision.models.get_model(self.model, weights=_local(chosen, state))
        except (RuntimeError, ValueError) as error:
            compare(torchvision.models.get_model(self.model, weights=None), state, path, what)
            raise DataError(f"{OPTION}: {path} cannot be loaded; it takes {what} ({error})") from None
        return network.eval().requires_grad_(False)

    def _weights(self) -> Any:
        import torchvision

        if self.model not in torchvision.models.list_models(torchvision.models):
            raise DataError(f"extractor.model: torchvision classifies with no {self.model!r}")
        known = torchvision.models.get_model_weights(self.model)
        if self.weights not in known.__members__:
            names = ", ".join(known.__members__)
            raise DataError(f"extractor.weights: {self.model} has no {self.weights!r}; it has {names}")
        return known[self.weights]

    def _file(self, chosen: Any) -> Path:
        return locate(self.path, [chosen.url], self._what())

    def _what(self) -> str:
        return f"the weights of torchvision's {self.name}"


def _local(chosen: Any, state: dict[str, Tensor]) -> Any:
    """Weights as torchvision lists them, except that they give `state` where those would download it."""
    local = object.__new__(type(chosen))
    local._name_, local._value_ = chosen.name, chosen.value
    local.get_state_dict = lambda **_: copy.copy(state)  # builders rename in it; a copy keeps versions of modules
    return local


class _Both:
    """Logits of a classifier, and what its last linear layer is given."""

    def __init__(self, network: nn.Module, transform: Any) -> None:
        from torch import nn

        self.network, self.transform = network, transform
        self.seen: Tensor | None = None
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise DataError("extractor.model: has no linear layer, the input of which could be its features")
        linear[-1].register_forward_pre_hook(self._keep)

    def _keep(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.seen = inputs[0]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        logits = self.network(self.transform(images))  # (N, classes)
        if self.seen is None or self.seen.ndim != 2:
            raise DataError("extractor.model: its last linear layer sees no row of features")
        return {"features": self.seen, "logits": logits}
