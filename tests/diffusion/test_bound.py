"""The variational bound for Gaussian data, whose every term is known."""

import math

import numpy as np
import pytest
import torch

from dit_toolkit.diffusion.bound import step_bits
from dit_toolkit.diffusion.schedule import posterior
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.testing import Gaussian

MEAN, STD = 0.3, 0.5
X0 = MEAN + STD * torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64).view(-1, 1, 1, 1)
EPS = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).view(-1, 1, 1, 1)
"""Four points with the first and second moments of data and noise: means of squares over them are expectations."""


def variance_given(schedule, t):
    """Var(x0 | x_t)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return STD**2 * sigma**2 / (alpha**2 * STD**2 + sigma**2)


def exact_fraction(schedule, step, total):
    """Where the true log variance of x_s given x_t lies between beta-tilde and beta."""
    t, s = step / total, (step - 1) / total
    q = posterior(schedule, t, s)
    variance = q.variance + q.x0_factor**2 * variance_given(schedule, t)
    return math.log(variance / q.variance) / math.log(q.step_variance / q.variance)


@pytest.mark.parametrize(
    "objective", [DDPM(), DDPM(beta_schedule="squared-cosine"), DDPM(target="v", zero_terminal_snr=True)]
)
def test_terms_sum_to_what_the_steps_reveal(objective):
    """With the true reverse steps, the terms of steps T .. 2 sum to h(x0 | x_T) - h(x0 | x_1), of two Gaussians."""
    schedule, total, bits = objective.schedule, objective.num_timesteps, 0.0
    oracle = Gaussian(objective, MEAN, STD)
    for step in range(2, total + 1):
        t = step / total
        x = float(schedule.alpha(t)) * X0 + float(schedule.sigma(t)) * EPS
        fraction = torch.full_like(x, exact_fraction(schedule, step, total))
        assert 0 <= fraction[0] <= 1 + 1e-9
        bits += float(step_bits(schedule, np.full(4, t), x, X0, oracle(x, t).x0, fraction).mean())
    exact = math.log2(variance_given(schedule, 1.0) / variance_given(schedule, 1 / total)) / 2
    assert bits == pytest.approx(exact, rel=1e-9)


def test_any_other_reverse_step_costs_more():
    objective, step = DDPM(), 400
    t, schedule = step / 1000, objective.schedule
    x = float(schedule.alpha(t)) * X0 + float(schedule.sigma(t)) * EPS
    best, right = Gaussian(objective, MEAN, STD)(x, t).x0, exact_fraction(schedule, step, 1000)

    def bits(predicted, fraction):
        return float(step_bits(schedule, np.full(4, t), x, X0, predicted, torch.full_like(x, fraction)).mean())

    least = bits(best, right)
    others = [
        (best + 0.01, right),
        (best - 0.01, right),
        (1.02 * best, right),
        (best, right + 0.02),
        (best, right - 0.02),
    ]
    assert all(bits(*other) > least for other in others)


@pytest.mark.parametrize("target", ["epsilon", "x0", "v"])
def test_the_loss_adds_the_bound_and_keeps_its_gradient_from_the_target(target):
    objective, t = DDPM(target=target), torch.tensor([0.001, 0.3, 0.7, 1.0], dtype=torch.float64)
    plain = DDPM(target=target, learn_sigma=False)
    output = torch.randn(4, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    variance = torch.full_like(X0, 0.2).requires_grad_()
    both = objective.loss(lambda *_: torch.cat([output, variance], 1), X0, None, noise=EPS, t=t)
    alone = plain.loss(lambda *_: output, X0, None, noise=EPS, t=t)
    schedule, at = objective.schedule, t.numpy()
    alpha, sigma = (torch.from_numpy(f(at)).view(-1, 1, 1, 1) for f in (schedule.alpha, schedule.sigma))
    x = alpha * X0 + sigma * EPS
    predicted = plain.predict(output, x, t).x0
    bits = step_bits(schedule, at, x, X0, predicted, torch.full_like(x, 0.6))
    torch.testing.assert_close(both, alone + bits.flatten(1).mean(1), rtol=1e-9, atol=1e-12)
    both.sum().backward()
    seen = output.grad.clone()
    output.grad = None
    alone.sum().backward()
    torch.testing.assert_close(seen, output.grad, rtol=0, atol=0)
    assert (variance.grad != 0).all()
