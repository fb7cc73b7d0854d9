import math
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import norm

from dit_toolkit.diffusion.bound import discretised_nll, normal_kl
from dit_toolkit.diffusion.schedule import posterior
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.random import Generator


def zeros(channels):
    return lambda x, t, y: torch.zeros(len(x), channels, *x.shape[2:])


def test_linear_betas_are_ho_et_als_and_scale_with_the_number_of_steps():
    betas = DDPM().betas
    assert betas[0] == pytest.approx(1e-4)
    assert betas[-1] == pytest.approx(0.02)
    assert DDPM(num_timesteps=100).betas[-1] == pytest.approx(0.2)


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


def test_a_learnt_variance_is_a_fraction_beside_the_prediction():
    objective, x = DDPM(target="v"), torch.randn(2, 3, 4, 4).double()
    output = torch.cat([x.sin(), torch.full_like(x, 0.5)], 1)
    prediction = objective.predict(output, x, 0.3333)
    torch.testing.assert_close(prediction.variance_fraction, torch.full_like(x, 0.75))
    plain = DDPM(target="v", learn_sigma=False).predict(x.sin(), x, 0.3333)
    assert torch.equal(prediction.x0, plain.x0)
    assert plain.variance_fraction is None


def test_v_prediction_is_diffusers():
    """Their float32 tables are replaced by ours; what is compared is the conversion."""
    from diffusers import DDIMScheduler

    objective = DDPM(target="v", learn_sigma=False)
    x0, noise = torch.randn(3, 1, 4, 4).double(), torch.randn(3, 1, 4, 4).double()
    theirs = DDIMScheduler(prediction_type="v_prediction", clip_sample=False)
    theirs.alphas_cumprod = torch.from_numpy(np.cumprod(1 - objective.betas))
    steps = torch.tensor([0, 400, 999])
    velocity = theirs.get_velocity(x0, noise, steps)
    seen = objective.loss(lambda *_: velocity, x0, None, noise=noise, t=objective.time_of_step(steps))
    assert float(seen.max()) < 1e-24
    theirs.set_timesteps(1000)
    for i, step in enumerate(steps.tolist()):
        x = theirs.add_noise(x0[i], noise[i], steps[i])
        expected = theirs.step(velocity[i], step, x).pred_original_sample
        ours = objective.predict(velocity[i : i + 1], x[None], (step + 1) / 1000).x0[0]
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)


def test_a_batch_of_the_cerebras_model_zoo_is_reproduced():
    """`input`, `label`, `diffusion_noise` and whole `timestep` 0 .. 999: the same point, the same loss, every time."""
    batch = {
        "input": torch.randn(4, 4, 8, 8),
        "label": torch.tensor([0, 207, 360, 1000]),
        "diffusion_noise": torch.randn(4, 4, 8, 8),
        "timestep": torch.tensor([0, 1, 500, 999], dtype=torch.int32),
    }
    objective, seen = DDPM(learn_sigma=False), []

    def model(x, t, y):
        seen.append((x, t, y))
        return x * 0.5

    def step():
        return objective.loss(
            model,
            batch["input"],
            batch["label"],
            noise=batch["diffusion_noise"],
            t=objective.time_of_step(batch["timestep"]),
        )

    loss = step()
    assert (loss.shape, loss.dtype) == ((4,), torch.float32)
    assert torch.equal(loss, step())
    x, t, y = seen[0]
    assert t.tolist() == batch["timestep"].tolist()
    assert torch.equal(y, batch["label"])
    bar = torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))[batch["timestep"].long()].view(-1, 1, 1, 1)
    right = bar.sqrt() * batch["input"] + (1 - bar).sqrt() * batch["diffusion_noise"]
    torch.testing.assert_close(x, right.float())
    torch.testing.assert_close(loss, (x * 0.5 - batch["diffusion_noise"]).square().mean((1, 2, 3)))


@pytest.mark.parametrize("total", [2, 10, 1000, 999_999])
def test_steps_become_times_and_steps_again(total):
    objective = DDPM(num_timesteps=total, trained_betas=None, beta_schedule="squared-cosine")
    steps = torch.unique(torch.linspace(0, total - 1, 1000).long())
    times = objective.time_of_step(steps)
    assert times.dtype == torch.float64
    assert float(times[-1]) == 1
    assert torch.equal(objective.network_time(times).round().long(), steps)
    assert torch.equal(objective.snapped(times), times)
    assert torch.equal(objective.snapped((times + 0.3 / total).clamp(max=1)), times)


def test_every_step_is_drawn_alike():
    seen = []
    objective = DDPM(num_timesteps=5, beta_schedule="squared-cosine", learn_sigma=False)
    x0 = torch.zeros(5000, 1, 1, 1)
    objective.loss(lambda x, t, y: seen.append(t) or x, x0, None, generator=Generator(0, "t", range(5000)))
    assert (torch.bincount(seen[0].long(), minlength=5) - 1000).abs().max() < 4 * 28  # four standard deviations


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


def test_pickles_with_its_tables():
    objective = DDPM()
    objective.times(10), objective.schedule
    assert pickle.loads(pickle.dumps(objective)) == objective


@pytest.mark.parametrize("shift", [0.3, 3.0])
@pytest.mark.parametrize("options", [{}, {"target": "v", "zero_terminal_snr": True}])
def test_shift_draws_the_trained_steps_nearest_to_other_noise(shift, options):
    """Every step's sigma / alpha is moved by the factor, up to rounding to a step; the ends stay."""
    plain, moved = DDPM(**options), DDPM(**options, shift=shift)
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    before, after = plain.drawn(u), moved.drawn(u)
    assert before.tolist() == [(i + 1) / 1000 for i in range(1000)]
    steps = moved.network_time(after)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-9)
    assert float(after.min()) >= 0.001
    assert float(after.max()) <= 1.0
    wanted = plain.schedule.log_snr(before.numpy()) - 2 * math.log(shift)
    low, high = (plain.schedule.log_snr(np.clip(after.numpy() + half, 1e-9, 1)) for half in (0.00051, -0.00051))
    inside = (after.numpy() > 0.001) & (after.numpy() < 1.0)
    assert inside.sum() > 500
    assert ((low <= wanted) & (wanted <= high))[inside].all()
    assert moved.times(10) == plain.times(10)
