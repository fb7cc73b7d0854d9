"""Every objective with every target, path, schedule and weighting, for the tests that hold for all of them."""

import numpy as np
import torch

from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import RANGES, FlowMatching

BETAS = tuple(np.geomspace(1e-3, 0.2, 200).round(6).tolist())

OBJECTIVES = [
    *(
        DDPM(target=target, weighting=weighting, learn_sigma=False)
        for target in ("epsilon", "x0", "v")
        for weighting in ("uniform", "min-snr", "p2")
    ),
    *(DDPM(target=target, zero_terminal_snr=True, learn_sigma=False) for target in ("x0", "v")),
    *(DDPM(beta_schedule=name, learn_sigma=False) for name in ("scaled-linear", "sigmoid", "squared-cosine")),
    DDPM(target="v", beta_schedule="squared-cosine", zero_terminal_snr=True, weighting="min-snr", learn_sigma=False),
    DDPM(num_timesteps=200, trained_betas=BETAS, target="v", learn_sigma=False),
    *(
        FlowMatching(path=path, target=target, weighting=weighting)
        for path in ("linear", "gvp", "vp")
        for target in RANGES
        for weighting in ("velocity", "uniform")
    ),
    EDM(),
    EDM(sigma_data=1.0, sigma_min=0.01, sigma_max=20.0),
]


def name(objective):
    from dit_toolkit.testing.parametrize import describe

    return describe(objective)


def at(objective, t):
    """alpha, sigma, alpha', sigma' at t."""
    s = objective.schedule
    return tuple(float(f(t)) for f in (s.alpha, s.sigma, s.alpha_prime, s.sigma_prime))


def target_of(objective, x0, eps, t):
    """What the network should return, written from the papers and not from the code."""
    alpha, sigma, alpha_prime, sigma_prime = at(objective, t)
    if isinstance(objective, EDM):
        total = sigma**2 + objective.sigma_data**2
        c_skip, c_out = objective.sigma_data**2 / total, sigma * objective.sigma_data / total**0.5
        return (x0 - c_skip * (x0 + sigma * eps)) / c_out
    return {
        "epsilon": lambda: eps,
        "x0": lambda: x0,
        "v": lambda: alpha * eps - sigma * x0,
        "velocity": lambda: alpha_prime * x0 + sigma_prime * eps,
        "score": lambda: -eps / sigma,
    }[objective.target]()


def times_of(objective):
    """Both ends of what is trained, and times inside, which are trained steps where there are some."""
    schedule = objective.schedule
    low = 1 / schedule.num_timesteps if schedule.num_timesteps else max(schedule.lowest, 1e-4)
    inside = [0.015, 0.255, 0.5, 0.775, 0.995]
    if not schedule.num_timesteps:
        inside = [t + 1e-4 * t**2 for t in inside]
    return [low, *(t for t in inside if t > low), schedule.highest]


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
