import pytest
import torch
from attrs import evolve

from dit_toolkit.diffusion.clipping import Clipped, threshold
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.samplers.clipping import Clipping
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.euler_ancestral import EulerAncestral
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.sde_euler import SDEEuler
from dit_toolkit.samplers.unipc import UniPC
from dit_toolkit.testing import Gaussian

SAMPLERS = [DDPMSampler, DDIMSampler, Euler, EulerAncestral, Heun, DPMSolverPP, UniPC, SDEEuler]


def images(number=5):
    return Generator(0, "images", range(number)).randn(3, 4, 4).double()


@pytest.mark.parametrize("kind", SAMPLERS, ids=lambda c: c.kind)
@pytest.mark.parametrize("options", [{"clip_x0": 0.1}, {"threshold": 0.5, "threshold_max": 1.0}])
def test_the_result_is_in_range(kind, options):
    """The last step takes the data as they were clipped."""
    bound = options.get("clip_x0", 1.0)
    last = {"last_step": "tweedie"} if kind is SDEEuler else {}  # the others of its last steps follow a drift
    denoiser = Gaussian(DDPM(), std=3.0)
    free, held = (
        kind(num_steps=8, **given, **last).sample(denoiser, images(), generator=drawn()) for given in ({}, options)
    )
    assert float(free.abs().max()) > 1.5
    assert float(held.abs().max()) <= bound + 1e-9


def drawn():
    return Generator(0, "draws", range(5))


def test_thresholding_is_saharias():
    """The quantile of each image as torch has it; where it is below 1 the image is clipped there, not stretched."""
    x = images() * torch.tensor([0.2, 1.0, 2.0, 5.0, 50.0]).double()[:, None, None, None]
    for ratio, largest in ((0.995, 1.0), (0.9, 4.0), (1.0, 1e6), (0.5, 1e6)):
        scale = x.abs().flatten(1).quantile(ratio, dim=1).clamp(1, largest)[:, None, None, None]
        torch.testing.assert_close(threshold(x, ratio, largest), x.clamp(-scale, scale) / scale)
    assert torch.equal(threshold(x, 0.995, 1.0), x.clamp(-1, 1))
    assert torch.equal(threshold(x[:1], 0.9, 9.0), x[:1].clamp(-1, 1))
    assert threshold(x.bfloat16(), 0.9, 2.0).dtype == torch.bfloat16


@pytest.mark.parametrize("objective", [DDPM(), FlowMatching()], ids=lambda o: o.kind)
def test_noise_and_velocity_follow_the_clipped_data(objective):
    x, t, schedule = images(), 0.4, objective.schedule
    plain = Gaussian(objective, std=2.0)(x, t)
    found = Clipped(Gaussian(objective, std=2.0), 0.5)(x, t)
    assert torch.equal(found.x0, plain.x0.clamp(-0.5, 0.5))
    torch.testing.assert_close(schedule.alpha(t) * found.x0 + schedule.sigma(t) * found.eps, x)
    expected = schedule.alpha_prime(t) * found.x0 + schedule.sigma_prime(t) * found.eps
    torch.testing.assert_close(found.velocity, expected)
    kept = Clipped(Gaussian(objective, std=2.0), 0.5, keep_eps=True)(x, t)
    assert torch.equal(kept.eps, plain.eps)
    assert torch.equal(kept.x0, found.x0)


def test_without_options_the_denoiser_is_left_alone():
    denoiser = Gaussian(DDPM())
    assert Euler().clipped(denoiser) is denoiser
    assert isinstance(Euler(clip_x0=1.0).clipped(denoiser), Clipped)


def test_a_wide_limit_changes_nothing_but_rounding():
    for kind in SAMPLERS:
        sampler = kind(num_steps=5)
        pair = [
            s.sample(Gaussian(DDPM()), images(), generator=drawn()) for s in (sampler, evolve(sampler, clip_x0=1e6))
        ]
        torch.testing.assert_close(*pair)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_x0": 0.0}, "clip_x0"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": 0.9, "threshold_max": 0.5}, "threshold_max"),
        ({"clip_x0": 1.0, "threshold": 0.9}, r"clip_x0 \(1\) and threshold \(0.9\) exclude each other"),
        ({"rho": 5.0}, "rho"),
    ],
)
def test_options_that_do_not_fit(options, message):
    assert issubclass(Euler, Clipping)
    with pytest.raises(ValueError, match=message):
        Euler(**options)
