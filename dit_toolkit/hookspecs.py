"""The hooks of a plugin: one per family, each returning the component classes that the plugin offers."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from dit_toolkit.components import (
    Autoencoder,
    Backend,
    Block,
    Dataset,
    Metric,
    Objective,
    Patchifier,
    Sampler,
    Tracker,
)

NAME = "dit_toolkit"
"""Project name, plugin marker and entry-point group: one string."""

hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)


@hookspec
def register_blocks() -> Iterable[type[Block]]:
    '''Return the transformer blocks this plugin offers.

    A complete plugin::

        from attrs import frozen
        from torch import nn

        from dit_toolkit import Block, hookimpl


        class Gated(nn.Module):
            """x + gate(t + y) * mlp(x); the gate is 0 at first."""

            def __init__(self, hidden_size):
                super().__init__()
                self.mlp = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU())
                self.gate = nn.Linear(hidden_size, hidden_size)

            def reset(self):
                nn.init.zeros_(self.gate.weight)
                nn.init.zeros_(self.gate.bias)

            def forward(self, x, t, y):
                return x + self.gate(t + y).unsqueeze(1) * self.mlp(x)


        @frozen(kw_only=True)
        class Gating(Block):
            """A block without attention."""

            kind = "no-attention"
            identity_at_start = True

            def build(self, hidden_size, num_heads):
                return Gated(hidden_size)

            def macs(self, tokens, hidden_size):
                return {"mlp": tokens * hidden_size**2, "modulation": hidden_size**2}


        @hookimpl
        def register_blocks():
            return [Gating]
    '''


@hookspec
def register_patchifiers() -> Iterable[type[Patchifier]]:
    '''Return the patchifiers this plugin offers.

    A complete plugin::

        from attrs import frozen
        from torch import nn

        from dit_toolkit import Patchifier, hookimpl


        class Embed(nn.Module):
            def __init__(self, in_channels, hidden_size, patch):
                super().__init__()
                self.unfold = nn.Unfold(patch, stride=patch)
                self.linear = nn.Linear(in_channels * patch**2, hidden_size)

            def forward(self, x):
                return self.linear(self.unfold(x).transpose(1, 2))  # (N, T, D)


        class Head(nn.Module):
            def __init__(self, hidden_size, out_channels, patch):
                super().__init__()
                self.linear, self.patch = nn.Linear(hidden_size, out_channels * patch**2), patch

            def reset(self):
                nn.init.zeros_(self.linear.weight)
                nn.init.zeros_(self.linear.bias)

            def forward(self, x, grid):
                size = [n * self.patch for n in grid]
                return nn.functional.fold(self.linear(x).transpose(1, 2), size, self.patch, stride=self.patch)


        @frozen(kw_only=True)
        class Unfold(Patchifier):
            """One linear layer on the pixels of a patch."""

            kind = "unfold"
            patch_size: int = 2

            def build_embed(self, in_channels, hidden_size):
                return Embed(in_channels, hidden_size, self.patch_size)

            def build_head(self, hidden_size, out_channels):
                return Head(hidden_size, out_channels, self.patch_size)

            def macs(self, tokens, hidden_size, in_channels, out_channels):
                area = tokens * self.patch_size**2 * hidden_size
                return {"patch_embed": area * in_channels, "head": area * out_channels}


        @hookimpl
        def register_patchifiers():
            return [Unfold]
    '''


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


@hookspec
def register_autoencoders() -> Iterable[type[Autoencoder]]:
    '''Return the autoencoders this plugin offers.

    A complete plugin::

        from attrs import frozen
        from torch import nn

        from dit_toolkit import Autoencoder, hookimpl


        class ShuffleCodec:
            def encode(self, images, generator=None):
                return nn.functional.pixel_unshuffle(images, 2)

            def decode(self, latents):
                return nn.functional.pixel_shuffle(latents, 2)


        @frozen(kw_only=True)
        class Shuffle(Autoencoder):
            """Puts 2 x 2 pixels into 4 channels; without loss, and without weights."""

            kind = "pixel-shuffle"

            def latent_shape(self, image):
                channels, height, width = image
                if height % 2 or width % 2:
                    raise ValueError(f"images of {height} x {width} pixels have an odd side")
                return 4 * channels, height // 2, width // 2

            def load(self, device="cpu"):
                return ShuffleCodec()


        @hookimpl
        def register_autoencoders():
            return [Shuffle]
    '''


@hookspec
def register_datasets() -> Iterable[type[Dataset]]:
    '''Return the datasets this plugin offers.

    A complete plugin::

        import numpy as np
        import torch
        from attrs import frozen

        from dit_toolkit import Dataset, hookimpl


        class Squares:
            def __init__(self, labels, size):
                self.labels, self.size = labels, size

            def __len__(self):
                return len(self.labels)

            def batch(self, indices, generator=None):
                y = torch.from_numpy(self.labels[indices])
                x = torch.full((len(y), 1, self.size, self.size), -1.0)
                side = (self.size // 4) * (1 + y)
                for image, n in zip(x, side):
                    image[:, :n, :n] = 1
                return x, y


        @frozen(kw_only=True)
        class Corner(Dataset):
            """White squares of three sizes in a corner."""

            kind = "corner"
            image_size: int = 16

            @property
            def shape(self):
                return 1, self.image_size, self.image_size

            @property
            def class_names(self):
                return "small", "middle", "large"

            def open(self, split):
                return Squares(np.arange(900 if split == "train" else 90) % 3, self.image_size)


        @hookimpl
        def register_datasets():
            return [Corner]
    '''


@hookspec
def register_backends() -> Iterable[type[Backend]]:
    '''Return the training backends this plugin offers.

    A complete plugin::

        import torch
        from attrs import frozen

        from dit_toolkit import Backend, Engine, RecipeError, Step, hookimpl


        class Plain(Engine):
            def __init__(self, model, optimizer, bf16, clipping, accumulation):
                self.model, self.optimizer, self.bf16 = model, optimizer, bf16
                self.clipping, self.accumulation = clipping, accumulation

            def __call__(self, x, t, y):
                with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
                    return self.model(x, t, y)

            def backward(self, loss):
                (loss / self.accumulation).backward()

            def step(self, lr):
                norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clipping or torch.inf)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                self.optimizer.step()
                self.optimizer.zero_grad()
                return Step(float(norm), applied=True)

            def master(self):
                return [p.data for p in self.model.parameters()]

            def state(self):
                return {name: p.detach().float().cpu().clone() for name, p in self.model.named_parameters()}

            def save(self, folder):
                torch.save([self.model.state_dict(), self.optimizer.state_dict()], folder / "plain.pt")

            def load(self, folder):
                model, optimizer = torch.load(folder / "plain.pt", weights_only=True)
                self.model.load_state_dict(model)
                self.optimizer.load_state_dict(optimizer)


        @frozen(kw_only=True)
        class Autocast(Backend):
            """Plain PyTorch on one process; bf16 by autocast."""

            kind = "autocast"

            def start(self, model, optimizer, *, precision, gradient_clipping, accumulation, **ignored):
                if precision == "fp16":
                    raise RecipeError("train.precision: backend 'autocast' has no 'fp16'; use 'bf16' or 'fp32'")
                return Plain(model, optimizer, precision == "bf16", gradient_clipping, accumulation)


        @hookimpl
        def register_backends():
            return [Autocast]
    '''


@hookspec
def register_metrics() -> Iterable[type[Metric]]:
    '''Return the metrics this plugin offers.

    A complete plugin::

        import numpy as np
        from attrs import frozen

        from dit_toolkit import Metric, hookimpl


        @frozen(kw_only=True)
        class Brightness(Metric):
            """Distance of the mean grey level to that of the held-out images."""

            kind = "brightness"
            higher_is_better = False
            unit = "grey levels"
            floor = "train"
            zero_on = "heldout"
            symmetric = True

            def compute(self, images, labels, real):
                return float(abs(np.mean(images) - np.mean(real.heldout)))


        @hookimpl
        def register_metrics():
            return [Brightness]
    '''


@hookspec
def register_trackers() -> Iterable[type[Tracker]]:
    '''Return the trackers this plugin offers.

    A complete plugin::

        from attrs import field, frozen

        from dit_toolkit import Tracker, hookimpl


        @frozen(kw_only=True)
        class Text(Tracker):
            """Appends a line per step to log.txt in the run folder."""

            kind = "text"
            _state: dict = field(factory=dict, init=False, repr=False, eq=False)

            def start(self, folder, recipe):
                self._state["path"] = folder / "log.txt"

            def log(self, step, values):
                with self._state["path"].open("a") as file:
                    print(step, *(f"{name}={value:.6g}" for name, value in values.items()), file=file)


        @hookimpl
        def register_trackers():
            return [Text]
    '''
