"""Checks of samplers, on data from a Gaussian, whose optimal denoiser is known in closed form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve

from dit_toolkit.components import Objective, Sampler
from dit_toolkit.testing.claims import claims
from dit_toolkit.testing.inputs import generator, randn
from dit_toolkit.testing.oracles import Gaussian

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEAN, STD = 0.1, 0.2
COARSE, FINE = 16, 128
NUMBER = 20_000


def check_converges(sampler: Sampler) -> None:
    """The error falls with `num_steps` to the declared order, or the mean and deviation do if the sampler is random.

    Without `num_steps` it is small as it stands.
    """
    denoiser = Gaussian(_objectives(sampler)[0], MEAN, STD)
    if sampler.num_steps is None:
        found = _pathwise_error(sampler, denoiser)
        assert found < 0.15, f"the error is {found:.2g}, in units of the data's deviation"
        return
    error = _moment_error if _is_random(sampler, denoiser) else _pathwise_error
    floor = 0.02 if error is _moment_error else 1e-6
    coarse, fine = (error(_with_steps(sampler, n), denoiser) for n in (COARSE, FINE))
    shown = f"{coarse:.2g} in {COARSE} and {fine:.2g} in {FINE} steps, in units of the data's deviation"
    assert fine < 0.15, f"the error does not vanish: it is {shown}"
    bound = coarse * (COARSE / FINE) ** (sampler.order - 0.4)
    assert fine < max(bound, floor), (
        f"order = {sampler.order}, but the error is {shown}: it falls with the power "
        f"{math.log(coarse / fine) / math.log(FINE / COARSE):.2f}"
    )


def check_deterministic(sampler: Sampler) -> None:
    """Seed and sample index decide the result, whatever the batch."""
    import torch

    for objective in _objectives(sampler):
        noise = randn(3, 1, 2, 2)
        first, second = (_run(sampler, objective, noise.clone(), 3, 8, 10) for _ in range(2))
        assert torch.equal(first, second), f"{objective.kind}: the same seed gives another result the second time"
        alone = _run(sampler, objective, noise[1:2], 8)
        assert torch.allclose(first[1:2], alone, atol=1e-5), (
            f"{objective.kind}: a sample is another one when it is alone in its batch; draw with generator.randn_like"
        )


def check_input_is_kept(sampler: Sampler) -> None:
    """The noise given is not written to."""
    import torch

    for objective in _objectives(sampler):
        noise = randn(2, 1, 2, 2)
        kept = noise.clone()
        _run(sampler, objective, noise, 0, 1)
        assert torch.equal(noise, kept), f"{objective.kind}: sample() writes to its input: x += ... does"


@claims("num_steps")
def check_calls(sampler: Sampler) -> None:
    """The denoiser is called once per step or more, and at most `calls_per_step` times."""
    for objective in _objectives(sampler):
        few = _with_steps(sampler, 6)
        denoiser = Gaussian(objective, MEAN, STD)
        few.sample(denoiser, randn(1, 1, 1, 1), generator=generator(0))
        calls, most = len(denoiser.calls), 6 * few.calls_per_step
        assert 6 <= calls <= most, (
            f"{objective.kind}: {calls} calls of the denoiser in 6 steps, expected 6 to {most}; set calls_per_step"
        )


def check_type_and_device_are_kept(sampler: Sampler) -> None:
    """The result has shape, type and device of the noise and is finite, with a generator and without."""
    import torch

    from dit_toolkit.random import Generator

    few = _few(sampler)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for objective in _objectives(sampler):
        for device in devices:
            for dtype in (torch.float32, torch.float64):
                noise = randn(2, 3, 4, 2, dtype=dtype).to(device)
                for drawn in (None, Generator(0, "check", (0, 1), device)):
                    x = few.sample(Gaussian(objective, MEAN, STD), noise, generator=drawn)
                    seen, right = _kind(x), _kind(noise)
                    assert seen == right, f"{objective.kind}: noise {right} gives {seen}"
                    assert x.isfinite().all(), f"{objective.kind}: the result is not finite; is t = 0 asked?"


def _kind(x: Tensor) -> tuple[tuple[int, ...], torch.dtype, str]:
    return tuple(x.shape), x.dtype, x.device.type


def _objectives(sampler: Sampler) -> list[Objective]:
    """The built-in objectives for which a sampler is defined."""
    from dit_toolkit.objectives.ddpm import DDPM
    from dit_toolkit.objectives.edm import EDM
    from dit_toolkit.objectives.flow_matching import FlowMatching

    accepted: list[Objective] = []
    refused = []
    for objective in (FlowMatching(), DDPM(), DDPM(learn_sigma=False), EDM()):
        try:
            sampler.check(objective)
            accepted.append(objective)
        except ValueError as error:
            refused.append(f"{objective.kind}: {error}")
    assert accepted, f"check() refuses every built-in objective: {'; '.join(refused)}"
    return accepted


def _few(sampler: Sampler) -> Sampler:
    return sampler if sampler.num_steps is None else _with_steps(sampler, min(sampler.num_steps, 10))


def _with_steps(sampler: Sampler, num_steps: int) -> Sampler:
    changed: Sampler = evolve(cast(Any, sampler), num_steps=num_steps)
    return changed


def _run(sampler: Sampler, objective: Objective, noise: Tensor, *index: int) -> Tensor:
    start = objective.schedule.start(noise)
    return _few(sampler).sample(Gaussian(objective, MEAN, STD), start, generator=generator(*index))


def _is_random(sampler: Sampler, denoiser: Gaussian) -> bool:
    import torch

    noise = randn(4, 1, 1, 1)
    few = _with_steps(sampler, 6)
    results = [few.sample(denoiser, noise, generator=generator(*index)) for index in ((0, 1, 2, 3), (4, 5, 6, 7))]
    return not torch.equal(*results)


def _pathwise_error(sampler: Sampler, denoiser: Gaussian) -> float:
    """Of the end of each path, which is mean + std eps."""
    import torch

    eps = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    x = sampler.sample(denoiser, eps)
    return float((x - MEAN - STD * eps).abs().max()) / STD


def _moment_error(sampler: Sampler, denoiser: Gaussian) -> float:
    """Of mean and deviation over many samples."""
    import torch

    noise = randn(NUMBER, 1, 1, 1, dtype=torch.float64)
    x = sampler.sample(denoiser, noise, generator=generator(*range(NUMBER)))
    return max(abs(float(x.mean()) - MEAN), abs(float(x.std()) - STD)) / STD
