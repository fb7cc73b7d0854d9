"""The hooks around a run: backends, extractors, metrics and trackers."""

from __future__ import annotations

from collections.abc import Iterable

from dit_toolkit.components import Backend, Extractor, Metric, Tracker
from dit_toolkit.hookspecs.markers import hookspec


@hookspec
def register_backends() -> Iterable[type[Backend]]:
    '''Return the training backends this plugin offers.

    A complete plugin::

        import math

        import torch
        from attrs import frozen

        from dit_toolkit import Backend, Engine, RecipeError, Step, hookimpl, whole_shards


        class Plain(Engine):
            def __init__(self, model, optimizer, bf16, clipping, accumulation):
                self.model, self.optimizer, self.bf16 = model, optimizer, bf16
                self.clipping, self.accumulation = clipping, accumulation

            def __call__(self, x, t, y):
                with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
                    return self.model(x, t, y)

            def infer(self, x, t, y):
                self.model.eval()
                with torch.inference_mode(False), torch.no_grad():
                    output = self(x, t, y)
                self.model.train()
                return output

            def backward(self, loss):
                (loss / self.accumulation).backward()

            def step(self, lr, largest_norm=math.inf):
                norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clipping or torch.inf))
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                applied = math.isfinite(norm) and norm <= largest_norm
                if applied:
                    self.optimizer.step()
                self.optimizer.zero_grad()
                return Step(norm, applied)

            def shards(self):
                return whole_shards(self.model.named_parameters(), self.optimizer)

            def refresh(self):
                pass  # The weights are the masters.


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
def register_extractors() -> Iterable[type[Extractor]]:
    '''Return the extractors this plugin offers.

    A complete plugin::

        import hashlib

        import numpy as np
        from attrs import field, frozen
        from attrs.validators import ge

        from dit_toolkit import Extractor, hookimpl


        @frozen(kw_only=True)
        class Projection(Extractor):
            """Random projections of the pixels."""

            kind = "projection"
            size: int = field(default=64, validator=ge(1))

            def fingerprint(self):
                return hashlib.sha256(f"projection {self.size}".encode()).hexdigest()

            def load(self, device="cpu"):
                def see(images):
                    pixels = images.reshape(len(images), -1) / np.float32(255)
                    matrix = np.random.default_rng(0).normal(size=(pixels.shape[1], self.size))
                    return {"features": pixels @ matrix.astype(np.float32)}

                return see


        @hookimpl
        def register_extractors():
            return [Projection]
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
            """Distance of the mean grey level to that of the reference."""

            kind = "brightness"
            higher_is_better = False
            unit = "grey levels"
            floor = "train"
            zero_on = "reference"
            symmetric = True

            def compute(self, samples, real):
                levels = [images.each("grey level", mean_level) for images in (samples, real.reference)]
                return float(abs(levels[0].mean() - levels[1].mean()))


        def mean_level(block):
            return np.mean(block, axis=(1, 2, 3))


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
