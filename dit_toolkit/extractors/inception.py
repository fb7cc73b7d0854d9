"""Inception-v3 of the FID, by whose features papers compare."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.components import Extractor, See
from dit_toolkit.extractors.looking import Looking
from dit_toolkit.extractors.weights import fill, fingerprint, locate

URLS = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
WHAT = "the weights of the FID's Inception-v3 that come with torch-fidelity or pytorch-fid"


@frozen(kw_only=True)
class Inception(Extractor):
    """The Inception-v3 of the FID (TensorFlow's graph of 2015-12-05): 2,048 features, 1,008 logits, 2,023 spatial ones.

    Images of any size are resized to 299 x 299 as that graph does it.
    """

    kind = "inception"
    path: str | None = None
    """A file of torch-fidelity or pytorch-fid; looked for in torch.hub's folder unless given."""
    batch_size: int = field(default=50, validator=[ge(1), le(10_000)])
    """Images that go through the network at once."""

    def fingerprint(self) -> str:
        """SHA-256 of the weights, the same for both files."""
        return fingerprint(self._file(), WHAT)

    def load(self, device: str = "cpu") -> See:
        """Return what gives "features" (N, 2048), "logits" (N, 1008) without bias and "spatial" (N, 2023).

        Raises:
            MissingDataError: there is no file.
            DataError: it cannot be read, or holds another network.
        """
        path = self._file()  # before torch, which takes seconds to load
        from dit_toolkit.nn import inception

        model = inception.Inception()
        fill(model, path, WHAT)
        return Looking(model.to(device), device, self.batch_size)

    def _file(self) -> Path:
        return locate(self.path, URLS, WHAT)
