import numpy as np
import pytest
import torch

from dit_toolkit.diffusion import betas
from dit_toolkit.objectives.ddpm import DDPM

NAMES = {
    "linear": "linear",
    "scaled-linear": "scaled_linear",
    "squared-cosine": "squaredcos_cap_v2",
    "sigmoid": "sigmoid",
}
FLOAT32 = 1e-6
"""Their tables are of float32; ours are compared at its precision."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zero", [False, True])
def test_betas_and_alphas_bar_are_diffusers(name, zero):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule=NAMES[name], rescale_betas_zero_snr=zero)
    ours = DDPM(beta_schedule=name, zero_terminal_snr=zero, target="v")
    rtol = 2e-3 if zero else 2e-5  # they take the quotient of float32 products that are near 0
    np.testing.assert_allclose(ours.betas, theirs.betas.double().numpy(), rtol=rtol, atol=FLOAT32)
    t = np.arange(1, 1001) / 1000
    np.testing.assert_allclose(
        ours.schedule.alpha(t) ** 2, theirs.alphas_cumprod.double().numpy(), rtol=2e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_rescaling_is_diffusers_in_float64(name):
    from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr

    before = DDPM(beta_schedule=name).betas
    theirs = rescale_zero_terminal_snr(torch.from_numpy(before)).numpy()
    ours = betas.rescale_to_zero_snr(before)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    alphas_bar = np.cumprod(1 - ours)
    assert alphas_bar[-1] == 0
    assert alphas_bar[0] == pytest.approx(1 - before[0], rel=1e-12)


def test_squared_cosine_is_nichol_and_dhariwals_equation_17():
    def f(i):
        return np.cos((i / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2

    found = betas.squared_cosine(1000)
    assert found[0] == pytest.approx(1 - f(1) / f(0), rel=1e-9)
    assert np.prod(1 - found[:500]) == pytest.approx(f(500) / f(0), rel=1e-9)
    assert found[-1] == 0.999


def test_own_betas_are_taken_as_they_are():
    own = (0.1, 0.2, 0.7)
    objective = DDPM(num_timesteps=3, trained_betas=own)
    assert objective.betas.tolist() == list(own)
    assert float(objective.schedule.alpha(1.0)) ** 2 == pytest.approx(0.9 * 0.8 * 0.3, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trained_betas": (0.1, 0.2)}, "trained_betas has 2 numbers, num_timesteps is 1000"),
        ({"trained_betas": (0.1, 1.5), "num_timesteps": 2}, "trained_betas.* must be <= 0.9999: 1.5"),
        ({"trained_betas": (0.0, 0.5), "num_timesteps": 2}, "trained_betas.* must be > 0"),
        ({"trained_betas": (0.1, 0.2), "num_timesteps": 2, "beta_end": 0.1}, "beta_end is set"),
        ({"beta_schedule": "squared-cosine", "beta_start": 0.1}, "beta_start is set"),
        ({"beta_start": 1.5}, "beta_start"),
        ({"beta_start": 0.1, "beta_end": 0.01}, "must rise"),
        ({"num_timesteps": 10}, r"num_timesteps \(10\)"),
        ({"zero_terminal_snr": True}, "zero_terminal_snr needs target 'v' or 'x0'.*'epsilon'.*dividing by 0"),
    ],
)
def test_bad_betas_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        DDPM(**options)
