"""Randomness as a pure function of (seed, stream, sample index, draw): Philox-4x32-10 (Salmon et al. 2011).

No generator state is ever saved: resuming, another batch size, worker count or world size cannot change a number.
The same bits on every device.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Indices = Tensor | np.ndarray | Sequence[int]

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four words of 32 random bits (as int64) for every counter of four 32-bit words; all tensors have one shape."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The signed product wraps, but its 64 bits are those of the unsigned one.
        low, high = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (high >> 32 & _MASK) ^ c1 ^ k0, high & _MASK, (low >> 32 & _MASK) ^ c3 ^ k1, low & _MASK
        k0, k1 = k0 + _WEYL[0] & _MASK, k1 + _WEYL[1] & _MASK
    return [c0, c1, c2, c3]


class Generator:
    """Random numbers for the samples `index` (N,) of one `stream` ("train", "sample", ...) of a run's `seed`.

    Each call is the next draw; row i depends on (seed, stream, index[i], number of the draw) alone.
    """

    def __init__(self, seed: int, stream: str, index: Indices, device: str | torch.device = "cpu") -> None:
        self.index = torch.as_tensor(index, dtype=torch.int64, device=device)
        self._key = (seed & _MASK, seed >> 32 & _MASK ^ zlib.crc32(stream.encode()))
        self._draw = 0

    def _words(self, count: int) -> list[Tensor]:
        blocks = torch.arange(count, device=self.index.device).expand(len(self.index), count)  # (N, count)
        index = self.index[:, None].expand_as(blocks)
        draw = torch.full_like(blocks, self._draw)
        self._draw += 1
        return philox([blocks, draw, index & _MASK, index >> 32 & _MASK], self._key)

    def rand(self) -> Tensor:
        """Uniform in [0, 1), (N,) float64."""
        high, low, *_ = self._words(1)
        return ((high >> 5 << 26) + (low >> 6)).double()[:, 0] * 2.0**-53

    def randn(self, *shape: int) -> Tensor:
        """Standard normal (N, *shape) float32, by Box and Muller."""
        size = math.prod(shape)
        words = self._words(-(-size // 4))
        u0, u1, u2, u3 = ((word.float() + 0.5) * 2.0**-32 for word in words)
        pairs = []
        for radius, angle in ((u0, u1), (u2, u3)):
            scale = (-2 * radius.log()).sqrt_()
            pairs += [scale * (2 * math.pi * angle).cos_(), scale * (2 * math.pi * angle).sin_()]
        return torch.stack(pairs, -1).flatten(1)[:, :size].reshape(-1, *shape)  # (N, *shape)

    def randn_like(self, x: Tensor) -> Tensor:
        """Standard normal of the shape, type and device of x (N, ...)."""
        return self.randn(*x.shape[1:]).to(x)


def seed_torch(seed: int, position: int) -> None:
    """Set torch's own random state, which dropout draws from, to a function of a run's seed and a position in its data.

    The numbers of SeedSequence are fixed by numpy's promise of compatibility.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, position)).generate_state(1, np.uint64)[0]))


def randn_like(x: Tensor, generator: Generator | None) -> Tensor:
    """Standard normal like x (N, ...), from a generator or else from torch's random state."""
    return torch.randn_like(x) if generator is None else generator.randn_like(x)


def rand_for(x: Tensor, generator: Generator | None) -> Tensor:
    """Uniform in [0, 1), (N,) float64, for x (N, ...), from a generator or else from torch's random state."""
    if generator is None:
        return torch.rand(len(x), dtype=torch.float64, device=x.device)
    return generator.rand().to(x.device)
