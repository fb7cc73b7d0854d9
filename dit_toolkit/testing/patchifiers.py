"""Checks of patchifiers: pixels (N, C, H, W) to tokens (N, T, D), in row-major order, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dit_toolkit.components import Patchifier
from dit_toolkit.flops import counted_macs
from dit_toolkit.testing.inputs import randn, randomise, seeded

if TYPE_CHECKING:
    from torch import nn

ROWS, COLUMNS = 2, 3
IN, OUT = 2, 4


def check_shapes(patchifier: Patchifier) -> None:
    """`grid` counts rows and columns, the embedding gives their product of tokens and the head the whole image."""
    height, width = _size(patchifier)
    grid = patchifier.grid(height, width)
    assert tuple(grid) == (ROWS, COLUMNS), f"grid({height}, {width}) is {grid}, expected {(ROWS, COLUMNS)}"
    tokens = _embed(patchifier)(randn(2, IN, height, width))
    right = (2, ROWS * COLUMNS, _width(patchifier))
    assert tuple(tokens.shape) == right, f"the embedding returns {tuple(tokens.shape)}, expected (N, T, D) = {right}"
    out = _head(patchifier)(tokens, grid)
    right4 = (2, OUT, height, width)
    assert tuple(out.shape) == right4, f"the head returns {tuple(out.shape)}, expected (N, C_out, H, W) = {right4}"


def check_refuses_what_does_not_divide(patchifier: Patchifier) -> None:
    """A size that the patch does not divide is a ValueError naming both numbers."""
    for axis, patch in enumerate(patchifier.patch):
        size = list(_size(patchifier))
        size[axis] += 1
        if patch == 1:
            continue
        message = ""
        try:
            patchifier.grid(*size)
        except ValueError as error:
            message = str(error)
        assert message, f"grid({size[0]}, {size[1]}) is accepted, but the patch {patch} does not divide it"
        named = str(size[axis]) in message and str(patch) in message
        assert named, f"the message must name the size {size[axis]} and the patch {patch}: {message}"


def check_tokens_are_row_major(patchifier: Patchifier) -> None:
    """What changes in one patch changes its own token most, number row x columns + column."""
    embed, x = _embed(patchifier), randn(1, IN, *_size(patchifier))
    before = embed(x)
    for token in range(ROWS * COLUMNS):
        rows, columns = _patch(patchifier, token)
        changed = x.clone()
        changed[..., rows, columns] += 1
        seen = int((embed(changed) - before).abs().sum(2).argmax())
        assert seen == token, f"patch {divmod(token, COLUMNS)} must be token {token}, but is token {seen}"


def check_embedding_keeps_the_patch(patchifier: Patchifier) -> None:
    """A token that is wide enough holds every pixel of its patch: the way back exists."""
    import torch

    embed, x = _embed(patchifier).double(), randn(1, IN, *_size(patchifier), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: embed(z)[0, 0], x)  # (D, 1, C, H, W)
    rows, columns = _patch(patchifier, 0)
    pixels = jacobian[:, 0, :, rows, columns].flatten(1)  # (D, C p p)
    rank = int(torch.linalg.matrix_rank(pixels))
    assert rank == pixels.shape[1], f"a token of {len(pixels)} keeps {rank} of the {pixels.shape[1]} values of a patch"


def check_head_puts_tokens_back(patchifier: Patchifier) -> None:
    """A token changes the pixels of its own patch, all of them, more than any others."""
    import torch

    head, tokens = _head(patchifier), randn(1, ROWS * COLUMNS, _width(patchifier))
    before = head(tokens, (ROWS, COLUMNS))
    for token in range(ROWS * COLUMNS):
        changed = tokens.clone()
        changed[:, token] += randn(1, tokens.shape[2], seed=5)
        difference = (head(changed, (ROWS, COLUMNS)) - before).abs().sum((0, 1))  # (H, W)
        own = torch.zeros_like(difference, dtype=torch.bool)
        own[_patch(patchifier, token)] = True
        right = difference[own].min() > 0 and difference[own].mean() > difference[~own].mean()
        assert right, f"token {token} must change the pixels of patch {divmod(token, COLUMNS)}"


def check_head_is_zero_at_start(patchifier: Patchifier) -> None:
    """An untrained model returns 0: the head is zeroed in a method `reset()` of its module."""
    with seeded():
        head = patchifier.build_head(_width(patchifier), OUT)
    for module in head.modules():
        reset = getattr(module, "reset", None)
        if callable(reset):
            reset()
    out = head.requires_grad_(False)(randn(1, ROWS * COLUMNS, _width(patchifier)), (ROWS, COLUMNS))
    assert not out.any(), f"a new head returns values up to {float(out.abs().max()):g}; they must be 0"


def check_macs(patchifier: Patchifier) -> None:
    """`macs()` counts what torch counts."""
    size, width = _size(patchifier), _width(patchifier)
    seen = counted_macs(_embed(patchifier), randn(1, IN, *size))
    seen += counted_macs(_head(patchifier), randn(1, ROWS * COLUMNS, width), (ROWS, COLUMNS))
    said = patchifier.macs(ROWS * COLUMNS, width, IN, OUT)
    assert sum(said.values()) == seen, f"macs() says {sum(said.values()):,} ({said}), torch counts {seen:,}"


def _size(patchifier: Patchifier) -> tuple[int, int]:
    return ROWS * patchifier.patch[0], COLUMNS * patchifier.patch[1]


def _width(patchifier: Patchifier) -> int:
    """Wide enough for every pixel of a patch."""
    return -(-patchifier.patch[0] * patchifier.patch[1] * OUT // 16) * 16


def _patch(patchifier: Patchifier, token: int) -> tuple[slice, slice]:
    (row, column), (height, width) = divmod(token, COLUMNS), patchifier.patch
    return slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)


def _embed(patchifier: Patchifier) -> nn.Module:
    with seeded():
        return randomise(patchifier.build_embed(IN, _width(patchifier)))


def _head(patchifier: Patchifier) -> nn.Module:
    with seeded():
        return randomise(patchifier.build_head(_width(patchifier), OUT))
