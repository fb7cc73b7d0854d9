"""Activations: the bytes that a forward pass keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from dit_toolkit.errors import DitToolkitError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dit_toolkit.recipe.autoencoder import AnyRecipe

Precision = Literal["fp32", "bf16", "fp16"]


def activations(recipe: AnyRecipe, *, precision: Precision | None = None, device: str | None = None) -> int:
    """Bytes that the recipe's network keeps for the backward pass, for each image of a batch.

    With train.activation_checkpointing it is what stays, and what one block keeps while it is run again.

    Counted on tensors without data, by `torch.autograd.graph.saved_tensors_hooks`: every storage once, parameters left
    out; what a batch keeps once, whatever its size, is left out too. The backward pass needs its own gradients beside
    that, for about one block at a time.

    Args:
        precision: that of weights and activations; the recipe's `train.precision` unless given.
        device: "cpu" or "cuda", which decide how attention is done and thereby what it keeps; this machine's unless
            given. "cuda" needs a GPU, or torch takes two plain products for attention.

    Raises:
        RecipeError: the recipe does not fit together.
        DitToolkitError: the network cannot run without data, or its attention kernel not on this device.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from dit_toolkit.build import build_model
    from dit_toolkit.distributed import device as this_device
    from dit_toolkit.nn.dit import DiT

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision or recipe.train.precision]
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(), torch.device(device or this_device()):
            model = build_model(recipe)
            kept, again = _of_each(recipe, model), 0
            if isinstance(model, DiT) and (every := model.recompute):
                model.recompute = 0
                again = (_of_each(recipe, model) - kept) // (len(model.blocks) // every)
    except RuntimeError as error:
        raise DitToolkitError(f"activations cannot be counted without data: {str(error).splitlines()[0]}") from error
    finally:
        torch.set_default_dtype(usual)
    return kept + again


def _of_each(recipe: AnyRecipe, model: nn.Module) -> int:
    """Bytes kept for each image."""
    from dit_toolkit.build import example_inputs

    return saved_bytes(model, *example_inputs(recipe, 3)) - saved_bytes(model, *example_inputs(recipe, 2))


def saved_bytes(forward: Callable[..., Any], *inputs: Tensor, parameters: Iterable[Tensor] | None = None) -> int:
    """Bytes that autograd holds after `forward(*inputs)`, each storage once, parameters (a module's own) left out."""
    import torch

    if parameters is None:
        parameters = forward.parameters() if isinstance(forward, torch.nn.Module) else ()
    left_out = {_storage(parameter) for parameter in parameters}
    held: dict[int, Tensor] = {}  # The tensors stay alive, so that no storage comes in the place of another.

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in left_out:
            held[_storage(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward(*inputs)
    found = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    del output
    return found


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
