import math

import pytest
import torch
from attrs import evolve
from dit_toolkit_plugin_restart import Restart, add_noise, heun

from dit_toolkit import Generator, load_recipe
from dit_toolkit.testing import Gaussian, parametrize_with_checks


@parametrize_with_checks(
    [Restart(), Restart(restarts=0), Restart(restarts=4, t_min=0.2, t_max=0.7), Restart(restarts=1, restart_steps=40)]
)
def test_contract(component, check):
    check(component)


RECIPE = """
dataset = { kind = "fashion" }
model.hidden_size = 16
model.depth = 1
model.num_heads = 2
model.num_classes = 10
model.block = { kind = "adaln-zero" }
model.patchifier = { kind = "conv", patch_size = 4 }
objective = { kind = "KIND" }
train = { max_steps = 1, global_batch_size = 1 }
sample = { sampler = { kind = "heun" } }
"""


@pytest.fixture(params=["flow-matching", "ddpm"])
def denoiser(request, tmp_path):
    """The exact denoiser of a Gaussian, for an objective of a recipe."""
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("KIND", request.param))
    return Gaussian(load_recipe(path).objective, mean=0.3, std=0.5)


class Biased(Gaussian):
    """A denoiser whose velocity is off by a constant at high noise."""

    def __call__(self, x, t):
        found = super().__call__(x, t)
        return evolve(found, velocity=found.velocity - 0.5) if t > 0.5 else found


def generator(number):
    return Generator(0, "sample", range(number))


def test_added_noise_keeps_the_marginals(denoiser):
    """Samples of the distribution at s become samples of the distribution at t."""
    schedule, number = denoiser.schedule, 40_000
    for s, t in ((0.05, 0.3), (0.2, 0.9)):
        x0, eps = (Generator(0, stream, range(number)).randn(1, 1, 1).double() for stream in ("data", "noise"))
        x = schedule.alpha(s) * (0.3 + 0.5 * x0) + schedule.sigma(s) * eps
        x = add_noise(schedule, x, s, t, generator(number))
        std = math.hypot(0.5 * schedule.alpha(t), schedule.sigma(t))
        assert float(x.mean()) == pytest.approx(0.3 * schedule.alpha(t), abs=0.02)
        assert float(x.std()) == pytest.approx(std, rel=0.02)


def test_calls_are_those_of_algorithm_1(denoiser):
    """Down to t_min, K times from t_max to t_min, and on to 0; t_min is the nearest time of the step list."""
    sampler = Restart(num_steps=10, restarts=3, restart_steps=4, t_min=0.22, t_max=0.6)
    sampler.sample(denoiser, torch.zeros(1, 1, 1, 1))
    times, calls = denoiser.times(10), denoiser.calls
    low = min(times, key=lambda t: abs(t - 0.22))
    assert len(calls) == 2 * 10 - 1 + 3 * 2 * 4 <= 10 * sampler.calls_per_step
    assert calls.count(0.6) == 3 + 2 * (0.6 in times)
    assert calls.count(low) == 1 + 3 + 1
    assert set(calls) - set(times) <= {0.6 + (low - 0.6) * i / 4 for i in range(4)}


def test_without_restarts_it_is_heun(denoiser):
    noise = generator(4).randn(1, 2, 2)
    plain = heun(denoiser, noise, denoiser.times(12))
    assert torch.equal(Restart(num_steps=12, restarts=0).sample(denoiser, noise), plain)


def test_restarts_contract_the_error_made_above(denoiser):
    """What a wrong velocity above the interval adds to the mean falls with every restart (theorem 1 of the paper)."""
    noise = generator(20_000).randn(1, 1, 1).double()
    wrong = Biased(denoiser.objective, 0.3, 0.5)
    samplers = [Restart(restarts=restarts, t_min=0.1, t_max=0.5) for restarts in (0, 1, 4)]
    errors = [abs(float(s.sample(wrong, noise, generator=generator(20_000)).mean()) - 0.3) for s in samplers]
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < 0.4 * errors[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_min": 0.5, "t_max": 0.5}, r"t_min \(0.5\) must be below t_max \(0.5\)"),
        ({"t_min": 0.0}, "t_min"),
        ({"t_max": 1.5}, "t_max"),
        ({"restarts": -1}, "restarts"),
        ({"restart_steps": 0}, "restart_steps"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        Restart(**options)


def test_too_few_steps_are_refused_before_sampling(denoiser):
    with pytest.raises(ValueError, match=r"num_steps \(1\) leaves no time between 0 and t_max \(0.3\)"):
        Restart(num_steps=1).check(denoiser.objective)
