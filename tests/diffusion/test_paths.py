import math

import numpy as np
import pytest

from dit_toolkit.diffusion.discrete import ZeroTerminalSchedule
from dit_toolkit.diffusion.paths import GrowingSchedule, GVPSchedule, LinearSchedule, VPSchedule
from dit_toolkit.diffusion.schedule import Schedule
from dit_toolkit.objectives.ddpm import DDPM

ZERO = DDPM(zero_terminal_snr=True, target="v").schedule
PATHS = [LinearSchedule(), GVPSchedule(), VPSchedule(), GrowingSchedule(0.002, 80.0), ZERO]
every = pytest.mark.parametrize("schedule", PATHS, ids=lambda schedule: type(schedule).__name__)


@every
def test_slopes_are_derivatives(schedule):
    h, t = 1e-6, np.concatenate([np.linspace(0.01234, 0.95678, 97), [0.99923, 0.99971]])
    for f, g in ((schedule.alpha, schedule.alpha_prime), (schedule.sigma, schedule.sigma_prime)):
        np.testing.assert_allclose((f(t + h) - f(t - h)) / (2 * h), g(t), rtol=1e-4, atol=1e-5)
        assert [float(f(s)) for s in t] == pytest.approx(f(t), rel=1e-12)


@every
def test_the_time_of_a_log_snr_is_its_inverse_and_what_bisection_finds(schedule):
    t = np.concatenate([np.geomspace(1e-4, 0.09, 40), np.linspace(0.1, 0.9985, 100), [0.9991, 0.9996, 0.99999]])
    level = schedule.log_snr(t)
    assert (np.diff(level) < 0).all()
    np.testing.assert_allclose(schedule.time_of_log_snr(level), t, rtol=1e-9)
    np.testing.assert_allclose(Schedule.time_of_log_snr(schedule, level), t, rtol=1e-9)
    np.testing.assert_allclose(schedule.time_of_log_snr(np.array([np.inf, 300.0])), 0, atol=1e-12)
    assert schedule.time_of_log_snr(-300.0) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("schedule", [GVPSchedule(), VPSchedule(), ZERO], ids=lambda s: type(s).__name__)
def test_variance_is_preserved(schedule):
    t = np.linspace(0, 1, 1234)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, rtol=1e-12)


def test_ends():
    assert [(float(s.alpha(1.0)), float(s.sigma(0.0))) for s in (LinearSchedule(), GVPSchedule(), ZERO)] == [(0, 0)] * 3
    assert float(VPSchedule().alpha(1.0)) == pytest.approx(math.exp(-(0.1 + 20) / 4), rel=1e-12)
    assert float(GrowingSchedule(0.002, 80.0).sigma(1.0)) == 80


def test_the_terminal_schedule_is_the_other_on_its_steps():
    """alpha-bar of every trained step, also of the last but one, at which the two interpolations meet."""
    objective = DDPM(zero_terminal_snr=True, target="v")
    assert isinstance(ZERO, ZeroTerminalSchedule)
    np.testing.assert_allclose(
        ZERO.alpha(np.arange(1, 1001) / 1000) ** 2, np.cumprod(1 - objective.betas), rtol=1e-9, atol=1e-30
    )
    assert float(ZERO.alpha(0.9995)) == pytest.approx(float(ZERO.alpha(0.999)) / 2, rel=1e-9)
    assert ZERO.ratio_range[1] == pytest.approx(float(ZERO.sigma(0.999) / ZERO.alpha(0.999)))


def test_noise_of_growing_strength_starts_at_its_largest():
    import torch

    noise = torch.ones(2, 1, 1, 1)
    assert torch.equal(GrowingSchedule(0.002, 80.0).start(noise), 80 * noise)
    assert DDPM().schedule.start(noise) is noise
    assert torch.equal(LinearSchedule().start(noise), noise)
    assert float(LinearSchedule(highest=0.999).start(noise)[0]) == pytest.approx(0.999)
