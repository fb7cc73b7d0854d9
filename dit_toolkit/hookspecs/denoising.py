"""The hooks between noise and data: objectives and samplers."""

from __future__ import annotations

from collections.abc import Iterable

from dit_toolkit.components import Objective, Sampler
from dit_toolkit.hookspecs.markers import hookspec


@hookspec
def register_objectives() -> Iterable[type[Objective]]:
    '''Return the objectives this plugin offers.

    A complete plugin::

        import math

        import numpy as np
        import torch
        from attrs import frozen

        from dit_toolkit import Objective, Prediction, Schedule, hookimpl


        class Quarter(Schedule):
            """alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""

            def alpha(self, t):
                return np.cos(math.pi / 2 * t)

            def sigma(self, t):
                return np.sin(math.pi / 2 * t)

            def alpha_prime(self, t):
                return -math.pi / 2 * self.sigma(t)

            def sigma_prime(self, t):
                return math.pi / 2 * self.alpha(t)


        @frozen(kw_only=True)
        class Trigonometric(Objective):
            """The velocity along a quarter of a circle (Albergo & Vanden-Eijnden 2023)."""

            kind = "trigonometric"

            @property
            def schedule(self):
                return Quarter()

            def out_channels(self, in_channels):
                return in_channels

            def times(self, num_steps, spacing="uniform"):
                if num_steps < 1 or spacing != "uniform":
                    raise ValueError(f"num_steps ({num_steps}) must be >= 1, spacing ({spacing!r}) 'uniform'")
                return [1 - i / num_steps for i in range(num_steps + 1)]

            def network_time(self, t):
                return 1000 * t

            def predict(self, output, x, t):
                angle = math.pi / 2 * torch.as_tensor(t).to(x).view(-1, 1, 1, 1)
                turn = output.to(x.dtype) * (2 / math.pi)
                x0, eps = angle.cos() * x - angle.sin() * turn, angle.sin() * x + angle.cos() * turn
                return Prediction(x0, eps, output.to(x.dtype))

            def loss(self, model, x0, y, *, noise=None, t=None, generator=None):
                if t is None:
                    t = torch.rand(len(x0)) if generator is None else generator.rand()
                if noise is None:
                    noise = torch.randn_like(x0) if generator is None else generator.randn_like(x0)
                angle = math.pi / 2 * t.to(x0).view(-1, 1, 1, 1)
                x = angle.cos() * x0 + angle.sin() * noise
                velocity = math.pi / 2 * (angle.cos() * noise - angle.sin() * x0)
                return (model(x, self.network_time(t), y) - velocity).square().flatten(1).mean(1)


        @hookimpl
        def register_objectives():
            return [Trigonometric]
    '''


@hookspec
def register_samplers() -> Iterable[type[Sampler]]:
    '''Return the samplers this plugin offers.

    A complete plugin::

        from attrs import frozen

        from dit_toolkit import Sampler, hookimpl


        @frozen(kw_only=True)
        class Midpoint(Sampler):
            """Midpoint rule on the probability-flow ODE."""

            kind = "midpoint"
            order = 2
            calls_per_step = 2
            num_steps: int = 50

            def sample(self, denoiser, noise, *, generator=None):
                x, times = noise, denoiser.times(self.num_steps)
                for t, s in zip(times, times[1:]):
                    middle = x + denoiser(x, t).velocity * (s - t) / 2
                    x = x + denoiser(middle, (t + s) / 2).velocity * (s - t)
                return x


        @hookimpl
        def register_samplers():
            return [Midpoint]
    '''
