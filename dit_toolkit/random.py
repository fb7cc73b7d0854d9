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
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""2^64 / golden ratio, as a signed number."""


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four words of 32 random bits (as int64) for every counter of four 32-bit words; all tensors have one shape."""
    c0, c1, c2, c3 = words = [word.clone() for word in counter]  # Worked on in place: new memory costs time.
    low, high = torch.empty_like(c0), torch.empty_like(c2)
    k0, k1 = key
    for _ in range(10):
        # The signed product wraps, but its 64 bits are those of the unsigned one.
        torch.mul(c0, _MULTIPLIERS[0], out=low)
        torch.mul(c2, _MULTIPLIERS[1], out=high)
        torch.bitwise_right_shift(high, 32, out=c0).bitwise_and_(_MASK).bitwise_xor_(c1).bitwise_xor_(k0)
        torch.bitwise_right_shift(low, 32, out=c2).bitwise_and_(_MASK).bitwise_xor_(c3).bitwise_xor_(k1)
        torch.bitwise_and(high, _MASK, out=c1)
        torch.bitwise_and(low, _MASK, out=c3)
        k0, k1 = k0 + _WEYL[0] & _MASK, k1 + _WEYL[1] & _MASK
    return words


class Generator:
    """Random numbers for the samples `index` (N,) of one `stream` ("train", "sample", ...) of a run's `seed`.

    Each call is the next draw; row i depends on (seed, stream, index[i], number of the draw) alone.
    """

    def __init__(self, seed: int, stream: str, index: Indices, device: str | torch.device = "cpu") -> None:
        self._here = torch.as_tensor(index, dtype=torch.int64, device="cpu")
        self.index = self._here.to(device)
        self._key = (seed & _MASK, seed >> 32 & _MASK ^ zlib.crc32(stream.encode()))
        self._draw = 0

    def _words(self, index: Tensor, count: int) -> list[Tensor]:
        blocks = torch.arange(count, device=index.device).expand(len(index), count)  # (N, count)
        index = index[:, None].expand_as(blocks)
        draw = torch.full_like(blocks, self._draw)
        self._draw += 1
        return philox([blocks, draw, index & _MASK, index >> 32 & _MASK], self._key)

    def rand(self) -> Tensor:
        """Uniform in [0, 1), (N,) float64, on the CPU wherever the samples are: what is drawn here decides, and reading
        it back would wait for the device."""
        return _unit(self._words(self._here, 1))

    def spread(self) -> Tensor:
        """Uniform in [0, 1), (N,) float64, on the CPU: fractions of u + index / golden ratio with one u for the seed.

        Any run of consecutive indices is spread evenly, so that a batch has less variance (the additive recurrence of
        low discrepancy; Niederreiter 1992, section 3.1).
        """
        multiple = self._here * _GOLDEN  # wraps as a fraction of 2^64 should
        fraction = (multiple >> 11 & (1 << 53) - 1).double() * 2.0**-53
        return (fraction + _unit(self._words(torch.zeros(1, dtype=torch.int64), 1))) % 1

    def randn(self, *shape: int) -> Tensor:
        """Standard normal (N, *shape) float32, by Box and Muller."""
        size = math.prod(shape)
        words = self._words(self.index, -(-size // 4))
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


def rand_for(x: Tensor, generator: Generator | None, *, spread: bool = False) -> Tensor:
    """Uniform in [0, 1), (N,) float64 on the CPU, for x (N, ...), from a generator or else from torch's random state.

    Args:
        spread: of low discrepancy: see `Generator.spread`; without a generator as Kingma et al. 2021, appendix I.1.
    """
    if generator is not None:
        return generator.spread() if spread else generator.rand()
    if spread:
        return (torch.rand((), dtype=torch.float64) + torch.arange(len(x)) / len(x)) % 1
    return torch.rand(len(x), dtype=torch.float64)


def _unit(words: list[Tensor]) -> Tensor:
    """53 random bits of the first column of words (N, 1) as (N,) float64 in [0, 1)."""
    high, low, *_ = words
    return ((high >> 5 << 26) + (low >> 6)).double()[:, 0] * 2.0**-53
