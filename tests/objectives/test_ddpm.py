import math
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import norm

from dit_toolkit.diffusion.bound import discretised_nll, normal_kl
from dit_toolkit.diffusion.schedule import posterior
from dit_toolkit.objectives.ddpm import DDPM


def zeros(channels):
    return lambda x, t, y: torch.zeros(len(x), channels, *x.shape[2:])


def test_linear_betas_are_ho_et_als_and_scale_with_the_number_of_steps():
    betas = DDPM().betas
    assert betas[0] == pytest.approx(1e-4)
    assert betas[-1] == pytest.approx(0.02)
    assert DDPM(num_timesteps=100).betas[-1] == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["linear", "squared-cosine"])
def test_schedule_agrees_with_diffusers(name):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule={"linear": "linear", "squared-cosine": "squaredcos_cap_v2"}[name])
    ours = DDPM(beta_schedule=name)
    t = np.arange(1, 1001) / 1000
    np.testing.assert_allclose(ours.schedule.alpha(t) ** 2, theirs.alphas_cumprod.double().numpy(), rtol=2e-4)


@pytest.mark.parametrize("objective", [DDPM(), DDPM(beta_schedule="squared-cosine")])
def test_the_clock_runs_from_data_to_noise(objective):
    schedule = objective.schedule
    assert schedule.alpha(0.0) == 1
    assert schedule.sigma(0.0) == 0
    assert schedule.alpha(1.0) < 0.01
    t = np.linspace(0.0005, 1, 977)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, rtol=1e-12)
    h, t = 1e-7, np.linspace(0.0013, 0.99, 400) // 0.001 * 0.001 + 0.0004  # inside a step
    for f, g in ((schedule.alpha, schedule.alpha_prime), (schedule.sigma, schedule.sigma_prime)):
        np.testing.assert_allclose((f(t + h) - f(t - h)) / (2 * h), g(t), rtol=1e-5)


def test_posterior_is_ho_et_als_equations_6_and_7():
    objective = DDPM()
    beta, alpha = objective.betas, 1 - objective.betas
    bar = np.cumprod(alpha)
    before = np.concatenate([[1], bar[:-1]])
    t = np.arange(1, 1001) / 1000
    q = posterior(objective.schedule, t, t - 0.001)
    np.testing.assert_allclose(q.x0_factor, np.sqrt(before) * beta / (1 - bar), rtol=1e-9)
    np.testing.assert_allclose(q.x_factor, np.sqrt(alpha) * (1 - before) / (1 - bar), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(q.variance, beta * (1 - before) / (1 - bar), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(q.step_variance, beta, rtol=1e-9)


def test_respacing_keeps_first_and_last():
    steps = [round(t * 1000) - 1 for t in DDPM().times(250)]
    assert steps[-1] == -1  # data
    assert sorted(steps[:-1])[:4] == [0, 4, 8, 12]
    assert sorted(steps[:-1])[-2:] == [995, 999]
    assert len(set(steps)) == 251
    assert [round(t * 1000) - 1 for t in DDPM().times(1000)] == list(range(999, -2, -1))


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_name_the_numbers(steps):
    with pytest.raises(ValueError, match=rf"num_steps \({steps}\).*1000"):
        DDPM().times(steps)


def test_network_gets_the_original_step():
    objective = DDPM()
    t = torch.tensor(objective.times(10)[:-1], dtype=torch.float64)
    torch.testing.assert_close(objective.network_time(t).round(), objective.network_time(t), atol=1e-9, rtol=0)
    seen = []
    objective.loss(
        lambda x, t, y: seen.append(t) or torch.zeros(len(x), 2, 4, 4),
        torch.zeros(3, 1, 4, 4),
        torch.zeros(3).long(),
        t=torch.tensor([0.001, 0.5, 1.0]),
    )
    assert seen[0].tolist() == [0, 499, 999]


def test_loss_of_an_untrained_network_is_one():
    x0 = torch.rand(2000, 1, 8, 8) * 2 - 1
    loss = DDPM(learn_sigma=False).loss(zeros(1), x0, torch.zeros(2000).long())
    assert loss.shape == (2000,)
    assert float(loss.mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / (2000 * 64)))


def test_the_oracle_has_no_loss():
    x0, noise = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    loss = DDPM(learn_sigma=False).loss(lambda x, t, y: noise, x0, torch.zeros(4).long(), noise=noise)
    assert torch.equal(loss, torch.zeros(4))


def test_prediction_is_consistent():
    objective = DDPM()
    x0, eps = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 3, 4, 4).double()
    for t in (0.001, 0.3333, 1.0):
        alpha, sigma = float(objective.schedule.alpha(t)), float(objective.schedule.sigma(t))
        output = torch.cat([eps, torch.full_like(eps, 0.5)], 1)
        for time in (t, torch.full((2,), t, dtype=torch.float64)):
            prediction = objective.predict(output, alpha * x0 + sigma * eps, time)
            torch.testing.assert_close(prediction.x0, x0)
            torch.testing.assert_close(prediction.eps, eps)
            torch.testing.assert_close(prediction.variance_fraction, torch.full_like(eps, 0.75))


def test_variational_term_is_the_kl_of_the_posteriors():
    """With the true noise and the lower variance the bound is 0; with the upper one it is the closed form."""
    objective = DDPM()
    x0, noise, t = torch.randn(1, 1, 4, 4).double(), torch.randn(1, 1, 4, 4).double(), torch.tensor([0.5])
    low = objective.loss(lambda *_: torch.cat([noise, -torch.ones_like(noise)], 1), x0, None, noise=noise, t=t)
    assert float(low) == pytest.approx(0, abs=1e-9)
    high = objective.loss(lambda *_: torch.cat([noise, torch.ones_like(noise)], 1), x0, None, noise=noise, t=t)
    q = posterior(objective.schedule, 0.5, 0.499)
    ratio = q.variance / q.step_variance
    assert float(high) == pytest.approx((ratio - 1 - math.log(ratio)) / 2 / math.log(2), rel=1e-6)


def test_first_step_is_a_discretised_gaussian():
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    mean, logvar = torch.tensor(0.2, dtype=torch.float64), torch.tensor(math.log(0.1**2), dtype=torch.float64)
    bits = discretised_nll(levels, mean, logvar)
    assert float(torch.exp2(-bits).sum()) == pytest.approx(1, abs=1e-6)
    half = 1 / 255
    expected = norm.cdf(levels[130] + half, 0.2, 0.1) - norm.cdf(levels[130] - half, 0.2, 0.1)
    assert float(bits[130]) == pytest.approx(-math.log2(expected), rel=1e-9)


def test_kl_in_bits():
    kl = normal_kl(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.0), torch.tensor(math.log(4.0)))
    assert float(kl) == pytest.approx((math.log(2) + (1 + 1) / 8 - 0.5) / math.log(2))


def test_variance_term_leaves_the_noise_alone():
    x0, noise, t = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.tensor([0.001, 0.7])
    eps = torch.randn(2, 1, 4, 4, requires_grad=True)
    v = torch.zeros(2, 1, 4, 4, requires_grad=True)
    DDPM().loss(lambda *_: torch.cat([eps, v], 1), x0, None, noise=noise, t=t).sum().backward()
    torch.testing.assert_close(eps.grad, 2 * (eps.detach() - noise) / 16)
    assert (v.grad != 0).all()


def test_bad_betas_are_refused():
    with pytest.raises(ValueError, match="beta_start"):
        DDPM(beta_start=1.5)
    with pytest.raises(ValueError, match="num_timesteps \\(10\\)"):
        DDPM(num_timesteps=10)


def test_pickles_with_its_tables():
    objective = DDPM()
    objective.times(10), objective.schedule
    assert pickle.loads(pickle.dumps(objective)) == objective
