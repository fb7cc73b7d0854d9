"""What the checks feed to components: the same numbers in every process, and torch's random state left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from dit_toolkit.random import Generator


def generator(*index: int, stream: str = "check") -> Generator:
    """Make the generator of the samples `index`, of seed 0."""
    from dit_toolkit.random import Generator

    return Generator(0, stream, index)


def randn(*shape: int, dtype: torch.dtype | None = None, seed: int = 0) -> Tensor:
    """Standard normal numbers of a shape (N, ...)."""
    return generator(*range(seed, seed + shape[0]), stream="input").randn(*shape[1:]).to(dtype)


def images(*shape: int) -> Tensor:
    """Smooth images (N, C, H, W) in [-1, 1]: waves of a different phase for each."""
    import torch

    n, channels, height, width = shape
    phase = torch.arange(n * channels).view(n, channels, 1, 1) * 0.7
    rows, columns = torch.linspace(0, 3, height).view(-1, 1), torch.linspace(0, 2, width)
    return torch.sin(rows + 2 * columns + phase) * 0.9  # (N, C, H, W)


@contextmanager
def seeded() -> Iterator[None]:
    """Draw torch's random numbers from seed 0 within a `with` block."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def randomise(module: nn.Module) -> nn.Module:
    """Give every parameter values that hide nothing: a zero gate or a zero bias is one no more."""
    for number, parameter in enumerate(module.parameters()):
        parameter.data = 0.3 * randn(1, *parameter.shape, dtype=parameter.dtype, seed=number)[0]
    return module
