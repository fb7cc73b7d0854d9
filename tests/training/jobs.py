"""Several small trainings in the same processes, which saves the time of importing torch for each."""

import json
import os
import sys
import warnings
from pathlib import Path

from dit_toolkit import launch, load_recipe

RECIPE = """
[dataset]
kind = "synthetic"
latents = false
image_size = 8
channels = 1
num_classes = 5
num_images = 20
[model]
hidden_size = 16
depth = 2
num_heads = 2
num_classes = 5
[model.patchifier]
kind = "conv"
patch_size = 4
[train]
max_steps = 6
global_batch_size = 8
micro_batch_size = 2
lr = 1e-3
ema_decay = 0.9
ema_more = [0.5]
gradient_clipping = 1.0
log_every = 1
checkpoint_every = 3
checkpoint_keep = 9
[train.optimizer]
weight_decay = 0.1
[train.backend]
kind = "deepspeed"
zero_stage = 1
"""
"""2.5 steps are an epoch, so that every step but each fifth begins within one."""


def do(folder, processes, jobs):
    """Do jobs, each {"do": a function below, "out": a folder, "set": changes, ...}, in new processes; in order."""
    (folder / "tiny.toml").write_text(RECIPE)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment = dict(os.environ)
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(Path(__file__).parents[2]))
    try:
        program = (sys.executable, "-m", "tests.training.jobs")
        assert launch.spawn(processes, [str(folder)], program=program) == 0
    finally:
        os.environ.clear()
        os.environ.update(environment)


def go_on(recipe, out):
    """Train, going on from what is there."""
    from dit_toolkit import checkpoint
    from dit_toolkit.training.loop import train

    out.mkdir(exist_ok=True)
    train(recipe, out, files={}, resume=checkpoint.newest(out / "checkpoints"))


def convert(recipe, out, source):
    """Load the newest checkpoint of another run into the layout of this recipe and processes, and save it again."""
    import torch

    from dit_toolkit import checkpoint, distributed
    from dit_toolkit.build import build_model
    from dit_toolkit.optimizers import build_optimizer
    from dit_toolkit.training.ema import averages
    from dit_toolkit.training.saving import Saver
    from dit_toolkit.training.state import load_state

    distributed.initialise()
    torch.manual_seed(1)
    model = build_model(recipe)
    engine = recipe.train.backend.start(
        model,
        build_optimizer(model, recipe.train.optimizer),
        precision=recipe.train.precision,
        gradient_clipping=0.0,
        micro_batch_size=1,
        accumulation=1,
        device="cpu",
    )
    emas = averages(engine, recipe.train)
    step = load_state(checkpoint.newest(source / "checkpoints"), engine, emas, recipe)
    with Saver(out / "checkpoints", recipe.train, {}) as saver:
        saver.save(step, engine, emas, {"ema_updates": emas["ema"].updates})


def main():
    from dit_toolkit import distributed

    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    for job in json.loads((folder / "jobs.json").read_text()):
        recipe = load_recipe(folder / "tiny.toml", set=job["set"])
        if job["do"] == "convert":
            convert(recipe, folder / job["out"], folder / job["source"])
        else:
            go_on(recipe, folder / job["out"])
    distributed.wait()


if __name__ == "__main__":
    main()
