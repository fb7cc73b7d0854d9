"""How the model's products and blocks are run: in TF32, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dit_toolkit.errors import DitToolkitError
from dit_toolkit.progress import log


def compile_blocks(model: nn.Module, device: str) -> None:
    """Let torch.compile run the blocks of a model from now on.

    Blocks of one kind share what is compiled for the first, so that depth adds nothing to its time. Names of weights
    stay, and dropout draws the numbers that it draws without compiling.

    Raises:
        DitToolkitError: nothing can be compiled on this machine.
    """
    try:
        torch.compile(torch.square)(torch.ones(8, device=device))
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        needed = "a C++ compiler such as g++ on the PATH" if device == "cpu" else "Triton and a C compiler"
        raise DitToolkitError(
            f"train.compile: torch.compile, which needs {needed}, does not work on this machine: {said}; install that "
            "or set train.compile = false"
        ) from error
    blocks: Any = model.blocks
    for block in blocks:
        block.compile(options={"fallback_random": True})


@contextmanager
def float32_products(tf32: bool, device: str) -> Iterator[None]:
    """Round the factors of float32 products and convolutions to TF32, or not, within a `with` block; on GPUs only."""
    if device == "cpu":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    log(f"float32 products on the GPU: {'TF32' if tf32 else 'float32 throughout'} (train.tf32)")
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
