"""On Gaussian data with its exact denoiser every sampler converges at the order that its theory gives."""

import math
from itertools import pairwise

import pytest
from attrs import evolve

from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.euler_ancestral import EulerAncestral
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.sde_euler import SDEEuler
from dit_toolkit.samplers.unipc import UniPC
from dit_toolkit.testing import Gaussian
from dit_toolkit.testing.parametrize import describe
from tests.samplers.exact import MEAN, STD, Even, moments

STEPS = (8, 16, 32, 64, 128, 256)


def describe_any(value):
    return str(value) if isinstance(value, int) else describe(value)


def rates(errors):
    return [math.log2(a / b) for a, b in pairwise(errors)]


@pytest.mark.parametrize("objective", [FlowMatching(), DDPM()], ids=lambda o: o.kind)
@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (Euler(), 1),
        (DDIMSampler(), 1),
        (EulerAncestral(eta=0.0), 1),
        (Heun(), 2),
        (DPMSolverPP(solver_order=1), 1),
        (DPMSolverPP(solver_order=2), 2),
        (DPMSolverPP(solver_order=2, solver_type="heun"), 2),
        (DPMSolverPP(solver_order=3, lower_order_final=False), 3),
        (UniPC(solver_order=1, lower_order_final=False), 2),
        (UniPC(solver_order=1, variant="bh1", lower_order_final=False), 2),
        (UniPC(solver_order=2, lower_order_final=False), 3),
        (UniPC(solver_order=2, variant="bh1", lower_order_final=False), 3),
        (UniPC(solver_order=3, lower_order_final=False), 4),
        (UniPC(solver_order=3, lower_order_final=False, corrector=False), 3),
    ],
    ids=describe_any,
)
def test_solvers_of_the_ode(sampler, order, objective):
    """Pathwise, between finite ends, so that the last step to the data does not hide the order."""
    errors = [Even(objective).error(evolve(sampler, num_steps=n)) for n in STEPS]
    assert rates(errors)[-1] == pytest.approx(order, abs=0.3)
    assert errors[-1] < errors[0] / 2 ** (order * 3)


@pytest.mark.parametrize(
    ("sampler", "objective", "order"),
    [
        (DDPMSampler(), DDPM(), 1),
        (DDPMSampler(variance="fixed-small"), DDPM(), 1),
        (DDPMSampler(variance="fixed-large"), DDPM(), 1),
        (DDPMSampler(variance="fixed-small"), FlowMatching(), 1),
        (DDPMSampler(variance="fixed-large"), FlowMatching(), 1),
        (DDIMSampler(eta=0.5), DDPM(), 1),
        (DDIMSampler(eta=1.0), FlowMatching(), 1),
        (EulerAncestral(), FlowMatching(), 1),
        (EulerAncestral(eta=0.5), DDPM(), 1),
        (DPMSolverPP(solver_order=1, stochastic=True), FlowMatching(), 1),
        (DPMSolverPP(solver_order=2, stochastic=True, spacing="log-snr"), FlowMatching(), 2),
        (DPMSolverPP(solver_order=2, stochastic=True, spacing="log-snr", solver_type="heun"), FlowMatching(), 2),
        (DPMSolverPP(solver_order=3, stochastic=True, spacing="log-snr"), FlowMatching(), 2),
        (SDEEuler(), FlowMatching(), 1),
        (SDEEuler(), DDPM(), 1),
        (SDEEuler(norm=0.0), FlowMatching(), 1),
        (SDEEuler(diffusion="constant"), FlowMatching(), 1),
        (SDEEuler(diffusion="linear"), FlowMatching(), 1),
        (SDEEuler(diffusion="decreasing"), FlowMatching(), 1),
        (SDEEuler(diffusion="increasing-decreasing"), FlowMatching(), 1),
        (SDEEuler(diffusion="increasing-decreasing"), DDPM(), 1),
        (SDEEuler(diffusion="sbdm"), DDPM(), 1),
        (SDEEuler(last_step="tweedie"), FlowMatching(), 1),
        (SDEEuler(last_step="euler"), FlowMatching(), 1),
    ],
    ids=describe_any,
)
def test_moments_of_stochastic_samplers(sampler, objective, order):
    """Mean and deviation, known exactly without drawing, approach the data's at the weak order."""
    errors = []
    for steps in STEPS:
        mean, std = moments(evolve(sampler, num_steps=steps), Gaussian(objective, MEAN, STD), steps)
        errors.append(max(abs(mean - MEAN), abs(std - STD)) / STD)
    assert rates(errors)[-1] > 0.7 * order
    assert errors[-1] < 0.1
