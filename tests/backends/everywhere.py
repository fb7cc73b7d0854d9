"""A job of `test_everywhere.py`: train with every setting of DeepSpeed, write the weights that rank 0 gathers.

Run as `python everywhere.py FOLDER` by torchrun; each setting gives FOLDER/<name>-<processes>.safetensors.
"""

import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

from dit_toolkit import distributed, load_recipe
from dit_toolkit.backends.deepspeed import DeepSpeed
from dit_toolkit.backends.single import Single
from dit_toolkit.build import build_model
from dit_toolkit.optimizers import build_optimizer
from dit_toolkit.recipe.schema import Optimizer, Train
from dit_toolkit.training.ema import averages
from tests.conftest import ROOT, SMALL

BATCH, STEPS, MICRO = 4, 4, 2
SETTINGS = {
    "adamw": Optimizer(weight_decay=0.1),
    "adam": Optimizer(kind="adam", weight_decay=0.1, weight_decay_on="all"),
    "muon": Optimizer(kind="muon", weight_decay=0.1),
}
BACKENDS = {f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in (0, 1, 2, 3)}
AWAY = {
    **{f"zero-{stage}-optimizer": DeepSpeed(zero_stage=stage, offload="optimizer") for stage in (1, 2, 3)},
    "zero-3-all": DeepSpeed(zero_stage=3, offload="all"),
}


def cases():
    """Name, optimizer, backend, precision and which blocks are run again, of every setting."""
    for name, backend in {**BACKENDS, **AWAY}.items():
        yield f"adamw-fp32-{name}", "adamw", backend, "fp32", 0
    for precision in ("fp32", "bf16"):
        yield f"muon-{precision}-zero-0", "muon", BACKENDS["zero-0"], precision, 0
        yield f"adamw-{precision}-zero-3-all-again", "adamw", AWAY["zero-3-all"], precision, 1
        yield f"adamw-{precision}-zero-1-again", "adamw", BACKENDS["zero-1"], precision, 2
    yield "adam-fp32-zero-2", "adam", BACKENDS["zero-2"], "fp32", 0
    yield "adamw-bf16-zero-2-optimizer", "adamw", AWAY["zero-2-optimizer"], "bf16", 0


def trained(optimizer, backend, precision, every):
    """Weights and averages after some steps of accumulated, clipped gradients."""
    world, rank = (1, 0) if isinstance(backend, Single) else (distributed.size(), distributed.rank())
    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, f"train.activation_checkpointing={every}"])
    torch.manual_seed(0)
    model = build_model(recipe)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    engine = backend.start(
        model,
        build_optimizer(model, SETTINGS[optimizer]),
        precision=precision,
        gradient_clipping=0.5,
        micro_batch_size=BATCH // world,
        accumulation=MICRO,
        device="cpu",
    )
    emas = averages(engine, Train(max_steps=1, global_batch_size=1, ema_decay=0.9, ema_more=[0.1]))
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        for _ in range(MICRO):
            x = torch.randn(BATCH, 1, 32, 32, generator=generator).chunk(world)[rank]
            t = torch.rand(BATCH, generator=generator).mul(1000).chunk(world)[rank]
            engine.backward((engine(x, t, torch.arange(BATCH).chunk(world)[rank]) - x.tanh()).square().mean())
        engine.step(1e-3)
        for ema in emas.values():
            ema.update(engine)
    found = {f"raw.{name}": value for name, value in engine.state().items()}
    for weights, ema in emas.items():
        with ema.applied(engine):
            found |= {f"{weights}.{name}": value for name, value in engine.state().items()}
    return found


def main(folder):
    warnings.simplefilter("ignore")
    distributed.initialise()
    if distributed.size() == 1:
        for optimizer in SETTINGS:
            for precision in ("fp32", "bf16"):
                save_file(trained(optimizer, Single(), precision, 0), folder / f"{optimizer}-{precision}.safetensors")
    for name, *setting in cases():
        found = trained(*setting)
        if distributed.rank() == 0:
            save_file(found, folder / f"{name}-{distributed.size()}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
