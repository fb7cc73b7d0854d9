"""What a step of a sampler costs beside the network: against diffusers' schedulers, on a latent of DiT-XL/2.

    python benchmarks/samplers.py [--device cpu] [--steps 250]

The network is left out: a denoiser returns the same prediction at once. Tables are counted in. Minima of interleaved
runs, in microseconds a step, of `adaptive-ode` a call; "arithmetic" is x0 a + eps b + z c alone. What diffusers does
not have stands alone.
"""

import argparse
import math
import time
import warnings

import diffusers
import torch
from attrs import evolve

from dit_toolkit.diffusion.denoiser import Prediction
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.samplers.adaptive_ode import AdaptiveODE
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.euler_ancestral import EulerAncestral
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.sde_euler import SDEEuler
from dit_toolkit.samplers.unipc import UniPC

PAIRS = {
    "ddpm": (DDPMSampler(variance="fixed-small"), diffusers.DDPMScheduler),
    "ddpm, learned": (DDPMSampler(), None),
    "ddim": (DDIMSampler(), diffusers.DDIMScheduler),
    "euler": (Euler(), diffusers.EulerDiscreteScheduler),
    "euler-ancestral": (EulerAncestral(), diffusers.EulerAncestralDiscreteScheduler),
    "heun": (Heun(), diffusers.HeunDiscreteScheduler),
    "dpm-solver++": (DPMSolverPP(), diffusers.DPMSolverMultistepScheduler),
    "dpm-solver++ 3M": (DPMSolverPP(solver_order=3), None),
    "dpm-solver++ SDE": (DPMSolverPP(stochastic=True), None),
    "unipc": (UniPC(), diffusers.UniPCMultistepScheduler),
    "sde-euler": (SDEEuler(), None),
    "adaptive-ode": (AdaptiveODE(), None),
}


class Constant:
    """A denoiser without a network."""

    def __init__(self, x):
        objective = DDPM()
        self.schedule, self.times = objective.schedule, objective.times
        self.found = Prediction(x, x, x, x)
        self.calls = 0

    def __call__(self, x, t):  # noqa: ARG002 - what samplers call
        self.calls += 1
        return self.found


class Given:
    """A generator that draws nothing."""

    def randn_like(self, x):
        return x


def theirs(scheduler, steps, x):
    scheduler.set_timesteps(steps)
    output = x
    for t in scheduler.timesteps:
        x = scheduler.step(output, t, scheduler.scale_model_input(x, t)).prev_sample


def arithmetic(steps, x):
    for _ in range(steps):
        x * 0.3 + x * 0.2 + x * 0.1


def seconds(function, *arguments):
    begin = time.perf_counter()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    x = torch.randn(1, 4, 32, 32, device=options.device)
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {options.device}, {options.steps} steps")
    print("us a step           ours   diffusers   arithmetic")
    for name, (sampler, scheduler) in PAIRS.items():
        if sampler.num_steps is not None:
            sampler = evolve(sampler, num_steps=options.steps)
        rows = []
        for _ in range(options.repeats):
            denoiser = Constant(x)
            taken = seconds(lambda s=sampler, d=denoiser: s.sample(d, x, generator=Given()))
            other = seconds(theirs, scheduler(), options.steps, x) if scheduler else math.nan
            steps = options.steps if sampler.num_steps is not None else denoiser.calls
            rows.append((taken / steps, other / options.steps, seconds(arithmetic, options.steps, x) / options.steps))
        ours, other, least = (min(column) * 1e6 for column in zip(*rows, strict=True))
        print(f"{name:16} {ours:7.1f} {f'{other:.1f}' if scheduler else '':>11} {least:12.1f}")


if __name__ == "__main__":
    main()
