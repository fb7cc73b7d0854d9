import math

import numpy as np
import pytest
import torch

from dit_toolkit.diffusion.denoiser import LabelledDenoiser
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.random import Generator
from dit_toolkit.samplers.euler import Euler


@pytest.mark.parametrize("options", [{}, {"sigma_data": 1.0, "sigma_min": 0.01, "sigma_max": 20.0}])
def test_preconditioning_is_diffusers(options):
    from diffusers import EDMEulerScheduler

    objective, theirs = EDM(**options), EDMEulerScheduler(**options)
    x, output = torch.randn(2, 1, 4, 4).double(), torch.randn(2, 1, 4, 4).double()
    for sigma in (objective.sigma_min, 0.3, 5.0, objective.sigma_max):
        t = sigma / objective.sigma_max
        at = torch.tensor(sigma, dtype=torch.float64)
        close = {"rtol": 1e-12, "atol": 1e-12}
        torch.testing.assert_close(objective.network_input(x, t), theirs.precondition_inputs(x, at), **close)
        noise = theirs.precondition_noise(at)
        torch.testing.assert_close(objective.network_time(at / objective.sigma_max) / 1000, noise, **close)
        right = theirs.precondition_outputs(x, output, at)
        torch.testing.assert_close(objective.predict(output, x, t).x0, right, **close)


def test_the_step_list_is_diffusers():
    from diffusers import EDMEulerScheduler

    theirs = EDMEulerScheduler()
    theirs.set_timesteps(18)
    np.testing.assert_allclose(80 * np.array(EDM().times(18)), theirs.sigmas.double().numpy(), rtol=1e-6)


def test_eulers_steps_are_diffusers():
    """Linear in sigma, so that a step on the clock is one in sigma."""
    from diffusers import EDMEulerScheduler

    objective, noise = EDM(), torch.randn(2, 1, 4, 4).double()
    network = lambda x, t, y: torch.sin(3 * x) + t.view(-1, 1, 1, 1).to(x) / 1000  # noqa: E731
    theirs = EDMEulerScheduler()
    theirs.set_timesteps(18)
    theirs.sigmas = torch.tensor(objective.times(18), dtype=torch.float64) * 80
    theirs.timesteps = theirs.precondition_noise(theirs.sigmas[:-1])
    x = 80 * noise
    for time in theirs.timesteps:
        scaled = theirs.scale_model_input(x, time)
        x = theirs.step(network(scaled, 1000 * time.expand(2), None), time, x).prev_sample
    denoiser = LabelledDenoiser(network, objective, torch.zeros(2).long())
    ours = Euler(num_steps=18).sample(denoiser, objective.schedule.start(noise))
    torch.testing.assert_close(ours, x.double(), rtol=1e-5, atol=1e-5)  # their step computes in float32


def test_the_loss_is_the_papers_weighted_denoising_error():
    """Equations 2 and 8 with table 1: weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 of the error of D."""
    objective, x0, noise = EDM(), torch.randn(3, 1, 4, 4).double(), torch.randn(3, 1, 4, 4).double()
    sigma = torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64)
    output = torch.randn(3, 1, 4, 4).double()
    loss = objective.loss(lambda *_: output, x0, None, noise=noise, t=sigma / 80)
    denoised = objective.predict(output, x0 + sigma.view(-1, 1, 1, 1) * noise, sigma / 80).x0
    right = (sigma**2 + 0.25) / (sigma * 0.5) ** 2 * (denoised - x0).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, right, rtol=1e-9, atol=0)


def test_loss_of_an_untrained_network_is_one_on_data_of_the_assumed_deviation():
    x0 = 0.5 * torch.randn(4000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    loss = EDM().loss(lambda x, t, y: 0 * x, x0, None, generator=Generator(0, "t", range(4000)))
    assert float(loss.mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / 64_000))


def test_drawn_noise_is_log_normal_within_its_range():
    u = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    log_sigma = (EDM().drawn(u) * 80).log()
    assert float(log_sigma.mean()) == pytest.approx(-1.2, abs=1e-3)
    assert float(log_sigma.std()) == pytest.approx(1.2, rel=1e-3)
    ends = EDM(p_std=100.0).drawn(torch.tensor([0.0, 1e-9, 1 - 1e-9], dtype=torch.float64)) * 80
    assert ends.tolist() == pytest.approx([0.002, 0.002, 80])


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"sigma_min \(2\) must be below a tenth of sigma_max \(10\)"):
        EDM(sigma_min=2.0, sigma_max=10.0)
