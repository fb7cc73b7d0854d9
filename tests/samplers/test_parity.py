"""Against diffusers: same network, noise and steps, in float64; what differs on purpose is in docs/samplers.md.

Their tables are float32. Here the modules see a torch and a numpy whose float32 is float64, so that agreement to
rounding is meant. Their schedulers of the sigma family carry x / alpha.
"""

import importlib
import math
import types

import numpy as np
import pytest
import torch

from dit_toolkit.diffusion.denoiser import Prediction
from dit_toolkit.diffusion.paths import LinearSchedule
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.random import Generator
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.euler_ancestral import EulerAncestral
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.unipc import UniPC

TRAINED = DDPM(learn_sigma=False).schedule
STEPS = {"timestep_spacing": "trailing"}
pytestmark = pytest.mark.filterwarnings("ignore")


class Wide:
    """A module whose float32 is float64."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, "float64" if name == "float32" else name)


@pytest.fixture
def scheduler(monkeypatch):
    """Make a scheduler of diffusers that computes in float64 and draws the toolkit's noise."""

    def make(name, module, **options):
        module = importlib.import_module(f"diffusers.schedulers.scheduling_{module}")
        monkeypatch.setattr(module, "torch", Wide(torch))
        monkeypatch.setattr(module, "np", Wide(np), raising=False)
        drawn = generator()
        monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: drawn.randn(*shape[1:]).double(), raising=False)
        cls = getattr(module, name)
        if "solver_order" in options and options["solver_order"] == 3 and "DPM" in name:
            cls = types.new_class("Corrected", (cls,), exec_body=lambda body: body.update(_third(cls)))
        return cls(**options)

    return make


def _third(cls):
    """Give the second difference of 3M its other half."""
    update = cls.multistep_dpm_solver_third_order_update

    def whole(self, found, *args, sample, **options):
        pairs = [self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + i]) for i in (1, 0, -1, -2)]
        after, *here = (float(torch.log(alpha / sigma)) for alpha, sigma in pairs)
        h, h0, h1 = after - here[0], here[0] - here[1], here[1] - here[2]
        second = h**2 * ((found[-1] - found[-2]) / h0 - (found[-2] - found[-3]) / h1) / (h0 + h1)
        missing = -float(pairs[0][0]) * ((math.exp(-h) - 1 + h) / h**2 - 0.5) * second
        return update(self, found, *args, sample=sample, **options) + missing

    return {"multistep_dpm_solver_third_order_update": whole}


def generator():
    return Generator(0, "parity", range(4))


def noise():
    return Generator(1, "parity", range(4)).randn(1, 3, 3).double()


def network(x, t):
    """A fixed smooth function in place of a network."""
    return 0.7 * torch.sin(3 * x) + math.cos(t / 300) + 0.3 * x


class Fixed:
    """A denoiser with a step list and a prediction of the data."""

    def __init__(self, schedule, times, x0):
        self.schedule, self.given, self.x0 = schedule, times, x0

    def times(self, num_steps, spacing="uniform"):
        return self.given

    def __call__(self, x, t):
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        x0, fraction = self.x0(x, t, alpha, sigma)
        eps = (x - alpha * x0) / sigma
        velocity = float(self.schedule.alpha_prime(t)) * x0 + float(self.schedule.sigma_prime(t)) * eps
        return Prediction(x0, eps, velocity, fraction)


def trained(steps, variance=False, end=0.0):
    """A denoiser of noise prediction on trained steps."""

    def x0(x, t, alpha, sigma):
        step = round(t * 1000) - 1
        return (x - sigma * network(x, step)) / alpha, (torch.cos(x) + 1) / 2 if variance else None

    return Fixed(TRAINED, [*((int(step) + 1) / 1000 for step in steps), end], x0)


def run(theirs, x, predict=network, steps=10, **options):
    """Walk the steps of a scheduler."""
    theirs.set_timesteps(steps)
    scale = getattr(theirs, "scale_model_input", lambda x, t: x)
    for t in theirs.timesteps:
        x = theirs.step(predict(scale(x, t), float(t)), t, x, **options).prev_sample
    assert x.dtype == torch.float64
    return x


def visited(theirs, steps=10):
    theirs.set_timesteps(steps)
    return list(dict.fromkeys(theirs.timesteps.tolist()))


def agree(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("spacing", ["leading", "linspace"])  # of "trailing" theirs adds noise after the last step
@pytest.mark.parametrize("variance", ["fixed-small", "fixed-large", "learned-range"])
@pytest.mark.parametrize("clip", [{}, {"clip_sample": True, "clip_sample_range": 1.5}, {"thresholding": True}])
def test_ddpm(scheduler, variance, clip, spacing):
    options = {"clip_sample": False, "sample_max_value": 2.0, "dynamic_thresholding_ratio": 0.9, **clip}
    theirs = scheduler(
        "DDPMScheduler", "ddpm", variance_type=variance.replace("-", "_"), timestep_spacing=spacing, **options
    )
    learned = variance == "learned-range"
    denoiser = trained(visited(theirs), learned)
    ours = DDPMSampler(
        variance=variance,
        clip_x0=1.5 if "clip_sample_range" in clip else None,
        threshold=0.9 if "thresholding" in clip else None,
        threshold_max=2.0,
    ).sample(denoiser, noise(), generator=generator())

    def predict(x, t):
        return torch.cat([network(x, t), torch.cos(x)], 1) if learned else network(x, t)

    agree(ours, run(theirs, noise(), predict))


@pytest.mark.parametrize("options", [{}, {"set_alpha_to_one": False}, {"clip": True}, {"clip": True, "keep": True}])
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim(scheduler, eta, options):
    one, clip, keep = options.get("set_alpha_to_one", True), options.get("clip", False), options.get("keep", False)
    theirs = scheduler(
        "DDIMScheduler",
        "ddim",
        clip_sample=clip,
        clip_sample_range=1.2,
        set_alpha_to_one=one,
        timestep_spacing="leading",
    )
    ours = DDIMSampler(eta=eta, set_alpha_to_one=one, clip_x0=1.2 if clip else None, use_clipped_eps=not keep).sample(
        trained(visited(theirs)), noise(), generator=generator()
    )
    agree(ours, run(theirs, noise(), eta=eta, use_clipped_model_output=not keep))


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize(
    "options",
    [
        {"solver_order": 1},
        {"solver_order": 2},
        {"solver_order": 2, "solver_type": "heun"},
        {"solver_order": 3},
        {"solver_order": 3, "lower_order_final": False},
        {"solver_order": 1, "stochastic": True},
        {"solver_order": 2, "stochastic": True},
        {"solver_order": 2, "stochastic": True, "solver_type": "heun"},
        {"solver_order": 2, "thresholding": True},
    ],
)
def test_dpm_solver_pp(scheduler, options, steps):
    given = dict(options)
    stochastic, threshold = given.pop("stochastic", False), given.pop("thresholding", False)
    kind = "sde-dpmsolver++" if stochastic else "dpmsolver++"
    theirs = scheduler(
        "DPMSolverMultistepScheduler",
        "dpmsolver_multistep",
        algorithm_type=kind,
        thresholding=threshold,
        sample_max_value=1.5,
        **given,
        **STEPS,
    )
    sampler = DPMSolverPP(**given, stochastic=stochastic, threshold=0.995 if threshold else None, threshold_max=1.5)
    ours = sampler.sample(trained(visited(theirs, steps)), noise(), generator=generator())
    agree(ours, run(theirs, noise(), steps=steps))


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"lower_order_final": False}, {"corrector": False}])
def test_unipc(scheduler, order, variant, options):
    """To the first trained step where theirs would divide by the infinite length of a step to the data."""
    to_data = variant == "bh2" and options.get("lower_order_final", True)
    theirs = scheduler(
        "UniPCMultistepScheduler",
        "unipc_multistep",
        solver_order=order,
        solver_type=variant,
        lower_order_final=options.get("lower_order_final", True),
        disable_corrector=[] if options.get("corrector", True) else list(range(10)),
        final_sigmas_type="zero" if to_data else "sigma_min",
        **STEPS,
    )
    denoiser = trained(visited(theirs), end=0.0 if to_data else 0.001)
    ours = UniPC(solver_order=order, variant=variant, **options).sample(denoiser, noise())
    agree(ours, run(theirs, noise()))


def carried(x):
    return x / float(TRAINED.alpha(1.0))


def test_euler(scheduler):
    theirs = scheduler("EulerDiscreteScheduler", "euler_discrete", **STEPS)
    ours = Euler().sample(trained(visited(theirs)), noise())
    agree(ours, run(theirs, carried(noise())))


def test_euler_ancestral(scheduler):
    theirs = scheduler("EulerAncestralDiscreteScheduler", "euler_ancestral_discrete", **STEPS)
    ours = EulerAncestral().sample(trained(visited(theirs)), noise(), generator=generator())
    agree(ours, run(theirs, carried(noise())))


def test_heun(scheduler):
    theirs = scheduler("HeunDiscreteScheduler", "heun_discrete", beta_start=1e-4, beta_end=0.02, **STEPS)
    ours = Heun().sample(trained(visited(theirs)), noise())
    agree(ours, run(theirs, carried(noise())))


@pytest.mark.parametrize(
    ("sampler", "name", "module"),
    [
        (Euler(), "FlowMatchEulerDiscreteScheduler", "flow_match_euler_discrete"),
        (Heun(), "FlowMatchHeunDiscreteScheduler", "flow_match_heun_discrete"),
    ],
)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching(scheduler, sampler, name, module, shift):
    theirs = scheduler(name, module, shift=shift)
    times = [t / 1000 for t in visited(theirs)]
    denoiser = Fixed(LinearSchedule(), [*times, 0.0], lambda x, t, alpha, sigma: (x - t * network(x, 1000 * t), None))
    agree(sampler.sample(denoiser, noise()), run(theirs, noise()))


@pytest.mark.parametrize(
    ("sampler", "name", "module", "options"),
    [
        (Euler(), "EDMEulerScheduler", "edm_euler", {}),
        (DPMSolverPP(), "EDMDPMSolverMultistepScheduler", "edm_dpmsolver_multistep", {}),
        (
            DPMSolverPP(solver_type="heun"),
            "EDMDPMSolverMultistepScheduler",
            "edm_dpmsolver_multistep",
            {"solver_type": "heun"},
        ),
        (DPMSolverPP(solver_order=3), "EDMDPMSolverMultistepScheduler", "edm_dpmsolver_multistep", {"solver_order": 3}),
        (
            DPMSolverPP(stochastic=True),
            "EDMDPMSolverMultistepScheduler",
            "edm_dpmsolver_multistep",
            {"algorithm_type": "sde-dpmsolver++"},
        ),
    ],
)
@pytest.mark.parametrize("spacing", ["karras", "exponential"])
def test_edm(scheduler, sampler, name, module, options, spacing):
    theirs = scheduler(name, module, sigma_schedule=spacing, **options)
    theirs.set_timesteps(20)
    sigmas = theirs.sigmas.tolist()

    objective = EDM()

    class Denoiser:
        schedule = objective.schedule

        def times(self, num_steps, spacing="karras"):
            return [sigma / 80 for sigma in sigmas]

        def __call__(self, x, t):
            raw = network(x / math.hypot(80 * t, 0.5), 0.25 * math.log(80 * t))
            return objective.predict(raw, x, t)

    ours = sampler.sample(Denoiser(), 80 * noise(), generator=generator())
    agree(ours, run(theirs, 80 * noise(), steps=20))
