"""Any sampler, schedule, number of steps, shape and type: finite, of the kind of its input, and the same again."""

import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.samplers.adaptive_ode import AdaptiveODE
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.euler_ancestral import EulerAncestral
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.sde_euler import SDEEuler
from dit_toolkit.samplers.unipc import UniPC
from dit_toolkit.testing import Gaussian

OBJECTIVES = st.one_of(
    st.builds(
        DDPM,
        num_timesteps=st.integers(24, 2000),
        beta_schedule=st.sampled_from(["linear", "scaled-linear", "sigmoid", "squared-cosine"]),
    ),
    st.builds(DDPM, num_timesteps=st.integers(2, 40), beta_schedule=st.just("squared-cosine")),
    st.builds(DDPM, target=st.just("v"), zero_terminal_snr=st.just(True)),
    st.builds(FlowMatching, path=st.sampled_from(["linear", "gvp"]), shift=st.floats(0.5, 5.0)),
    st.builds(FlowMatching, path=st.just("vp")),
    st.builds(EDM, sigma_max=st.floats(5.0, 200.0)),
)
FLAGS = st.booleans()
SAMPLERS = st.one_of(
    st.builds(DDPMSampler, variance=st.sampled_from(["fixed-small", "fixed-large"])),
    st.builds(DDIMSampler, eta=st.floats(0, 1), use_clipped_eps=FLAGS),
    st.builds(EulerAncestral, eta=st.floats(0, 3)),
    st.builds(Heun, s_churn=st.floats(0, 50), s_noise=st.floats(0.9, 1.1)),
    st.builds(
        DPMSolverPP,
        solver_order=st.sampled_from([1, 2, 3]),
        solver_type=st.sampled_from(["midpoint", "heun"]),
        stochastic=FLAGS,
        lower_order_final=FLAGS,
    ),
    st.builds(
        UniPC,
        solver_order=st.sampled_from([1, 2, 3]),
        variant=st.sampled_from(["bh1", "bh2"]),
        corrector=FLAGS,
        lower_order_final=FLAGS,
    ),
    st.builds(
        SDEEuler,
        diffusion=st.sampled_from(["sigma", "constant", "linear", "decreasing", "increasing-decreasing"]),
        norm=st.floats(0, 4),
        last_step=st.sampled_from(["mean", "tweedie", "euler"]),
        last_step_size=st.none() | st.floats(0.01, 0.3),
    ),
    st.builds(Euler),
    st.builds(AdaptiveODE, rtol=st.floats(1e-4, 0.1)),
)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    sampler=SAMPLERS,
    objective=OBJECTIVES,
    data=st.data(),
    spacing=st.sampled_from([None, "log-snr", "karras"]),
    clip=st.sampled_from([{}, {"clip_x0": 1.5}, {"threshold": 0.9, "threshold_max": 3.0}]),
    shape=SHAPES,
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_any_sampler_with_anything(sampler, objective, data, spacing, clip, shape, dtype):
    if sampler.num_steps is not None:
        most = min(objective.schedule.num_timesteps or 40, 40)
        steps = data.draw(st.one_of(st.integers(1, most), st.just(most)), label="num_steps")
        sampler = evolve(sampler, num_steps=steps, spacing=spacing, **clip)
    elif dtype == torch.bfloat16:
        sampler = evolve(sampler, rtol=0.1, atol=0.1)
    sampler.check(objective)
    index = range(shape[0])
    noise = objective.schedule.start(Generator(0, "noise", index).randn(*shape[1:]).to(dtype))
    first, second = (
        sampler.sample(Gaussian(objective), noise, generator=Generator(0, "draws", index)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.shape == shape
    assert first.dtype == dtype
    assert first.isfinite().all()
