"""Checks of backends, on one process and the CPU, against plain PyTorch."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

from dit_toolkit.components import Backend
from dit_toolkit.engine import Engine
from dit_toolkit.testing.inputs import randn, randomise, seeded

if TYPE_CHECKING:
    from torch import Tensor, nn

LR = 0.05


def check_step_is_the_plain_step(backend: Backend) -> None:
    """Three steps of AdamW at a changing rate give the weights of plain PyTorch."""
    import torch

    with _quiet():
        plain = _network()
        optimizer = _optimizer(plain)
        engine = _start(backend)
        for number in range(3):
            lr = LR / (number + 1)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            _loss(plain, number).backward()
            optimizer.step()
            engine.backward(_loss(engine, number))
            update = engine.step(lr)
            assert update.applied, f"step {number} was not applied in fp32"
        _compare(engine.state(), dict(plain.state_dict()), "after three steps")
        assert torch.is_grad_enabled(), "the backend leaves gradients switched off"


def check_accumulation_is_the_mean(backend: Backend) -> None:
    """Two micro-batches give the step of their mean loss; by SGD, as Adam would hide another scale."""
    import torch

    with _quiet():
        plain, model = _network(), _network()
        optimizer, other = (torch.optim.SGD(m.parameters(), lr=LR) for m in (plain, model))
        ((_loss(plain, 0) + _loss(plain, 1)) / 2).backward()
        optimizer.step()
        engine = _start(backend, accumulation=2, model=model, optimizer=other)
        for number in range(2):
            engine.backward(_loss(engine, number))
        engine.step(LR)
        _compare(engine.state(), dict(plain.state_dict()), "after two micro-batches")


def check_clipping(backend: Backend) -> None:
    """The norm that is reported is the gradient's before clipping; the step is that of the clipped gradient."""
    import torch

    with _quiet():
        plain = _network()
        optimizer = torch.optim.SGD(plain.parameters(), lr=LR)
        _loss(plain, 0).backward()
        norm = float(torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.01))
        optimizer.step()
        model = _network()
        engine = _start(backend, clipping=0.01, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=LR))
        engine.backward(_loss(engine, 0))
        seen = engine.step(LR).grad_norm
        assert abs(seen - norm) < 1e-3 * norm, f"grad_norm is {seen:g}; before clipping it is {norm:g}"
        _compare(engine.state(), dict(plain.state_dict()), "after a clipped step")


def check_bad_gradients_are_refused(backend: Backend) -> None:
    """A gradient that is not finite, or larger than allowed, leaves weights and optimizer as they are."""
    import math

    import torch

    with _quiet():
        plain, engine = _network(), _start(backend)
        optimizer = _optimizer(plain)
        for number, factor, largest in ((0, math.nan, math.inf), (1, math.inf, math.inf), (2, 1.0, 1e-9)):
            engine.backward(_loss(engine, number) * factor)
            update = engine.step(LR, largest)
            what = f"a gradient of norm {update.grad_norm:g} where at most {largest:g} was allowed"
            assert not update.applied, f"{what} is said to be applied"
            _compare(engine.state(), dict(plain.state_dict()), f"after {what}")
        for number in (3, 4):
            optimizer.zero_grad()
            _loss(plain, number).backward()
            optimizer.step()
            engine.backward(_loss(engine, number))
            update = engine.step(LR)
            assert update.applied, "after refused gradients a sound one was not applied"
            assert math.isfinite(update.grad_norm), f"grad_norm of a sound gradient is {update.grad_norm}"
        _compare(engine.state(), dict(plain.state_dict()), "after two steps that followed refused ones")
        assert torch.is_grad_enabled(), "the backend leaves gradients switched off"


def check_state_is_named(backend: Backend) -> None:
    """`state()` is a float32 copy of every parameter by name, in bf16 too."""
    import torch

    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    for precision in precisions:
        with _quiet():
            state, right = _start(backend, precision=precision).state(), _network().state_dict()
            assert sorted(state) == sorted(right), f"state() names {sorted(state)}, the model {sorted(right)}"
            types = {str(value.dtype) for value in state.values() if value.dtype != torch.float32}
            assert not types, f"state() in {precision} holds {', '.join(types)}, expected float32"


def check_masters_are_the_weights(backend: Backend) -> None:
    """What is written into `master()` is what `state()` gathers: the moving average is saved that way."""
    import torch

    with _quiet():
        engine = _start(backend)
        for tensor in engine.master():
            assert tensor.dtype == torch.float32, f"master() holds {tensor.dtype}, expected float32"
            tensor.fill_(0.25)
        wrong = [name for name, value in engine.state().items() if not (value == 0.25).all()]
        assert not wrong, f"state() of {', '.join(wrong)} does not show what was written into master()"


def check_refresh_runs_what_the_masters_hold(backend: Backend) -> None:
    """What is written into `master()` is what runs after `refresh()`, and the weights come back to the bit."""
    import torch

    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    for precision in precisions:
        with _quiet():
            engine = _start(backend, precision=precision)
            inputs = randn(4, 1, 2, 2), torch.zeros(4), torch.zeros(4, dtype=torch.int64)
            before, kept = engine.infer(*inputs), [tensor.clone() for tensor in engine.master()]
            for tensor in engine.master():
                tensor.fill_(0.0)
            if any(value.any() for value in engine.state().values()):
                return  # `check_masters_are_the_weights` has it.
            engine.refresh()
            assert not engine.infer(*inputs).any(), f"in {precision}, refresh() leaves the weights that ran before"
            for tensor, value in zip(engine.master(), kept, strict=True):
                tensor.copy_(value)
            engine.refresh()
            same = torch.equal(engine.infer(*inputs), before)
            assert same, f"in {precision}, refresh() does not give back the weights of a master that was put back"


def check_inference_leaves_training(backend: Backend) -> None:
    """`infer` knows no dropout and keeps nothing for gradients, the training after it does."""
    import torch

    with _quiet(), seeded():
        model = randomise(_network())
        model.register_module("drop", torch.nn.Dropout(0.5))
        model.register_forward_hook(lambda module, _, output: module.drop(output))
        engine = _start(backend, model=model)
        inputs = randn(4, 1, 2, 2), torch.zeros(4), torch.zeros(4, dtype=torch.int64)
        with torch.inference_mode():
            first = engine.infer(*inputs)
        assert not first.requires_grad, "what infer() returns requires gradients"
        assert first.all(), "infer() runs with dropout"
        output = engine(*inputs)
        assert output.requires_grad, "after infer() the forward pass keeps nothing for gradients"
        assert not output.all(), "after infer() the forward pass runs without dropout"
        engine.backward(output.square().mean())
        engine.step(LR)
        assert not torch.equal(engine.infer(*inputs), first), "after infer() a step changes nothing"


def check_resumes(backend: Backend) -> None:
    """Saved by parameter and read into a new engine, the next losses are the same ones, bit for bit."""
    from safetensors.torch import save_file

    from dit_toolkit.consolidated import fill, fill_optimizer, gather
    from dit_toolkit.shards import numbers, optimizer_pieces, pieces

    with tempfile.TemporaryDirectory() as name, _quiet():
        engine = _start(backend)
        _train(engine, 0, 2)
        weights, state = pieces(engine.shards(), engine.master()), optimizer_pieces(engine.shards())
        save_file(gather(list(weights)), Path(name) / "weights")
        save_file(gather(list(state)), Path(name) / "optimizer", {"numbers": json.dumps(numbers(engine.shards()))})
        counters = engine.counters()
        expected = _train(engine, 2, 4)
        other = _start(backend)
        _train(other, 7, 8)
        fill(Path(name) / "weights", other.shards(), other.master())
        fill_optimizer(Path(name) / "optimizer", other.shards())
        other.set_counters(counters)
        other.refresh()
        seen = _train(other, 2, 4)
        assert seen == expected, f"after loading the losses are {seen}, without interruption {expected}"


def _train(engine: Engine, first: int, last: int) -> list[float]:
    losses = []
    for number in range(first, last):
        loss = _loss(engine, number)
        losses.append(float(loss.detach()))
        engine.backward(loss)
        engine.step(LR)
    return losses


def _loss(model: Any, number: int) -> Tensor:
    """Mean squared output on the batch of a number."""
    import torch

    x = randn(4, 1, 2, 2, seed=10 * number)
    out: Tensor = model(x, torch.zeros(4), torch.zeros(4, dtype=torch.int64))
    return (out - 1).square().mean()


def _network() -> nn.Module:
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            hidden = self.first(x.flatten(1).to(self.first.weight.dtype)).tanh()
            return self.second(hidden).float().view_as(x)

    with seeded():
        return randomise(Network())


def _optimizer(model: nn.Module) -> Any:
    import torch

    return torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.1)


def _start(
    backend: Backend,
    *,
    precision: Literal["fp32", "bf16"] = "fp32",
    clipping: float = 0.0,
    accumulation: int = 1,
    model: nn.Module | None = None,
    optimizer: Any = None,
) -> Engine:
    model = _network() if model is None else model
    return backend.start(
        model,
        _optimizer(model) if optimizer is None else optimizer,
        precision=precision,
        gradient_clipping=clipping,
        micro_batch_size=4,
        accumulation=accumulation,
        device="cpu",
    )


def _compare(state: dict[str, Tensor], right: dict[str, Tensor], when: str) -> None:
    import torch

    for name, value in right.items():
        difference = float((state[name] - value).abs().max())
        assert torch.allclose(state[name], value, atol=1e-5, rtol=1e-4), f"{when} {name} differs by {difference:g}"


@contextmanager
def _quiet() -> Iterator[None]:
    """In a process group of one, with the warnings of a backend's own libraries left out."""
    from dit_toolkit import distributed

    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    with patch.dict(os.environ, alone), warnings.catch_warnings():
        distributed.initialise()
        warnings.simplefilter("ignore")
        yield
