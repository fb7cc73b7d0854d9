"""The learning rate: a function of the step, so that there is no state to save."""

from __future__ import annotations

import math

from dit_toolkit.recipe.schema import Train


def learning_rate(settings: Train, step: int) -> float:
    """Rate of the step that follows `step` finished ones.

    lr (step + 1) / W over a warm-up of W steps, then lr (e + (1 - e) f(u)), where e = lr_end_share, u in [0, 1] is how
    much of the decay is done, and f(u) is

        constant  1
        linear    1 - u
        cosine    (1 + cos(pi u)) / 2 (Loshchilov & Hutter 2017, "SGDR")
        wsd       1 - sqrt(u), where u is 0 until the last lr_decay_steps (Hägele et al. 2024, arXiv 2405.18392)
    """
    if step < settings.lr_warmup_steps:
        return settings.lr * (step + 1) / settings.lr_warmup_steps
    length = settings.lr_decay_steps or max(1, settings.max_steps - settings.lr_warmup_steps)
    done = max(0, step - (settings.max_steps - length)) / length
    left = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "wsd": 1 - math.sqrt(done),
    }[settings.lr_schedule]
    return settings.lr * (settings.lr_end_share + (1 - settings.lr_end_share) * left)
