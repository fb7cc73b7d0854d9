"""Checks of blocks: `module(x, t, y) -> x` with x (N, T, D) and embeddings t, y (N, D)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dit_toolkit.components import Block
from dit_toolkit.flops import counted_macs
from dit_toolkit.testing.claims import claims
from dit_toolkit.testing.inputs import randn, randomise, seeded

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WIDTH, HEADS, TOKENS = 32, 2, 16


def check_shapes(block: Block) -> None:
    """(N, T, D) in and out, in the same type, for any number of tokens."""
    module = _trained(block)
    for tokens in (TOKENS, 64):
        x, t, y = _inputs(block, tokens=tokens)
        out = module(x, t, y)
        seen, right = (tuple(out.shape), out.dtype), (tuple(x.shape), x.dtype)
        assert seen == right, f"x is {right[0]} in {right[1]}, but the block returns {seen[0]} in {seen[1]}"


def check_rows_are_independent(block: Block) -> None:
    """What a sample becomes does not depend on the others in its batch."""
    import torch

    module, (x, t, y) = _trained(block).requires_grad_(False), _inputs(block)
    together = module(x, t, y)[1:2]
    alone = module(x[1:2], t[1:2], y[1:2])
    difference = float((together - alone).abs().max())
    assert torch.allclose(together, alone, atol=1e-4, rtol=1e-3), (
        f"a sample differs by {difference:g} when it is alone in its batch"
    )


def check_prefix_gives_the_extra_tokens(block: Block) -> None:
    """`build_prefix` makes (N, extra_tokens, D) of t and y, and is None where there are no extra tokens."""
    prefix, (_, t, y) = _prefix(block), _inputs(block)
    seen = (3, 0, WIDTH) if prefix is None else tuple(prefix(t, y).shape)
    right = (3, block.extra_tokens, WIDTH)
    assert seen == right, f"build_prefix gives tokens {seen}, extra_tokens says (N, extra_tokens, D) = {right}"


def check_gradient_reaches_everything(block: Block) -> None:
    """Every parameter, x, t and y have a gradient, through the block or its extra tokens."""
    import torch

    module, prefix, (x, t, y) = _trained(block), _prefix(block), _inputs(block)
    named: dict[str, Tensor] = {"x": x, "t": t, "y": y, **dict(module.named_parameters())}
    for tensor in named.values():
        tensor.requires_grad_()
    if prefix is not None:
        named |= {f"prefix.{name}": parameter for name, parameter in prefix.named_parameters()}
    tokens = x if prefix is None else torch.cat([prefix(t, y), x[:, block.extra_tokens :]], dim=1)  # (N, extra + T, D)
    (module(tokens, t, y) * randn(*tokens.shape, seed=9)).sum().backward()
    dead = [name for name, tensor in named.items() if tensor.grad is None or not tensor.grad.abs().sum() > 0]
    assert not dead, f"no gradient reaches {', '.join(dead)}"


@claims("identity_at_start")
def check_identity_at_start(block: Block) -> None:
    """A new block returns its input: gates are zeroed in a method `reset()` of the module, which has the last word."""
    import torch

    from dit_toolkit.nn.layers import init_linear

    module, (x, t, y) = _new(block).requires_grad_(False), _inputs(block)
    init_linear(module)
    for part in module.modules():
        reset = getattr(part, "reset", None)
        if callable(reset):
            reset()
    difference = float((module(x, t, y) - x).abs().max())
    assert torch.equal(module(x, t, y), x), f"identity_at_start = True, but a new block changes x by {difference:g}"


def check_bf16_is_finite(block: Block) -> None:
    """In bf16 throughout, output and gradients are finite and in bf16."""
    import torch

    module = _trained(block).bfloat16()
    x, t, y = (z.bfloat16().requires_grad_() for z in _inputs(block))
    try:
        out = module(x, t, y)
    except RuntimeError as error:
        raise AssertionError(f"a bf16 block refuses bf16 inputs: {error}") from error
    assert out.dtype == torch.bfloat16, f"a bf16 block returns {out.dtype}"
    out.float().square().mean().backward()
    assert out.isfinite().all(), "the output is not finite in bf16"
    broken = [n for n, p in module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not broken, f"the gradient of {', '.join(broken)} is not finite in bf16"


def check_checkpointed_is_plain(block: Block) -> None:
    """Recomputed in the backward pass (activation checkpointing) it is the same: no hidden state, no side effect."""
    import torch
    from torch.utils.checkpoint import checkpoint

    module, (x, t, y) = _trained(block).train(), _inputs(block)
    results = []
    for again in (False, True):
        leaf = x.detach().clone().requires_grad_()
        with seeded():
            out: Tensor = checkpoint(module, leaf, t, y, use_reentrant=False) if again else module(leaf, t, y)
        out.square().sum().backward()
        results.append((out.detach(), cast("Tensor", leaf.grad)))
    (plain, plain_grad), (out, grad) = results
    assert torch.equal(plain, out), "the second of two equal passes has another result: the module keeps a state"
    assert torch.allclose(plain_grad, grad, atol=1e-5, rtol=1e-4), "checkpointed, its gradient is another one"


def check_macs(block: Block) -> None:
    """`macs()` counts what torch counts."""
    seen = counted_macs(_new(block), *(z[:1] for z in _inputs(block)))
    said = block.macs(TOKENS + block.extra_tokens, WIDTH)
    assert sum(said.values()) == seen, f"macs() says {sum(said.values()):,} ({said}), torch counts {seen:,}"


def _new(block: Block) -> nn.Module:
    with seeded():
        return block.build(WIDTH, HEADS)


def _trained(block: Block) -> nn.Module:
    return randomise(_new(block)).eval()


def _prefix(block: Block) -> nn.Module | None:
    with seeded():
        prefix = block.build_prefix(WIDTH)
    return None if prefix is None else randomise(prefix)


def _inputs(block: Block, tokens: int = TOKENS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return randn(3, block.extra_tokens + tokens, WIDTH), randn(3, WIDTH, seed=3), randn(3, WIDTH, seed=6)
