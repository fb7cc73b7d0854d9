"""FID (Heusel et al. 2017): the Frechet distance in the 2,048 pooled features of Inception-v3."""

from __future__ import annotations

from attrs import field, frozen

from dit_toolkit.components import Extractor
from dit_toolkit.extractors.inception import Inception
from dit_toolkit.metrics.frechet_distance import FrechetDistance
from dit_toolkit.metrics.on_features import only_inception


@frozen(kw_only=True)
class FID(FrechetDistance):
    """Frechet distance in the features of Inception-v3; published values are of 50,000 samples."""

    kind = "fid"
    extractor: Extractor = field(factory=Inception, validator=only_inception)

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind
