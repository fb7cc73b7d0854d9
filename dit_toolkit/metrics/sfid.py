"""sFID (Nash et al. 2021): the Frechet distance in 2,023 features of Inception-v3 that know where things are."""

from __future__ import annotations

from attrs import frozen

from dit_toolkit.metrics.fid import FID


@frozen(kw_only=True)
class SFID(FID):
    """Frechet distance in the first 7 channels of an intermediate layer of Inception-v3, 17 x 17 positions each."""

    kind = "sfid"
    output = "spatial"
