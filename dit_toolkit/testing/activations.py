"""What a forward pass keeps for the backward pass, counted exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def saved_bytes(forward: Callable[[], Any], parameters: Iterable[Tensor] = ()) -> int:
    """Bytes that `forward()` saves, by saved-tensor hooks: each storage once, those of `parameters` left out."""
    import torch

    left_out = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in left_out:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()  # Alive until all is counted, so that no storage is used twice.
        total = sum(seen.values())
        del output
    return total
