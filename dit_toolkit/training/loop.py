"""The training loop: one function that reads from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from dit_toolkit import checkpoint, distributed, stop
from dit_toolkit.build import build_model
from dit_toolkit.errors import Interrupted, NonFiniteError
from dit_toolkit.optimizers import build_optimizer
from dit_toolkit.progress import progress
from dit_toolkit.random import seed_torch
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.recipe.sizes import split_batch
from dit_toolkit.training.batches import Batches
from dit_toolkit.training.data import open_data
from dit_toolkit.training.ema import averages
from dit_toolkit.training.fit import micro_batch_size
from dit_toolkit.training.kernels import compile_blocks, float32_products
from dit_toolkit.training.loss import loss_of
from dit_toolkit.training.order import drop_labels
from dit_toolkit.training.rate import Rate, shown
from dit_toolkit.training.schedule import learning_rate
from dit_toolkit.training.state import Log, load_state, save_state
from dit_toolkit.training.watch import Watch


def train(recipe: AnyRecipe, folder: Path, *, files: Mapping[str, str], resume: Path | None = None) -> int:
    """Train a recipe in a run folder, from the start or from a checkpoint; returns the step reached.

    Args:
        files: texts to put into every checkpoint (recipe.toml, provenance.json).
        resume: verified checkpoint to go on from.

    Raises:
        Interrupted: a signal asked to stop; the state is saved.
        NonFiniteError: the loss or the gradient is not finite; nothing is saved.
    """
    settings, device = recipe.train, distributed.device()
    distributed.initialise()
    data, encode = open_data(recipe, "train", device)
    objective_loss = loss_of(recipe, device)
    share, micro = split_batch(settings, distributed.size())
    if settings.micro_batch_size is None:  # A resumed run keeps its number, with which its sums round the same.
        before = checkpoint.read_manifest(resume).get("micro_batch_size") if resume else None
        micro = before or micro_batch_size(recipe, share)
    batches = Batches(recipe, data, micro, device)

    torch.manual_seed(recipe.seed)
    model = build_model(recipe).to(device)
    if settings.compile:
        compile_blocks(model, device)
    null = recipe.model.num_classes
    optimizer = build_optimizer(model, settings.optimizer)
    engine = settings.backend.start(
        model,
        optimizer,
        precision=settings.precision,
        gradient_clipping=settings.gradient_clipping,
        micro_batch_size=micro,
        accumulation=share // micro,
        device=device,
    )
    emas = averages(engine, settings)
    step = load_state(resume, engine, emas, recipe) if resume else 0

    watch, rate = Watch(recipe, folder, engine, emas["ema"], device), Rate(recipe, step)
    saved, loss_sum, logged = step, torch.zeros((), device=device), step
    with (
        float32_products(settings.tf32, device),
        progress("train", settings.max_steps, done=step) as bar,
        Log(folder, settings, recipe, step) as log,
        batches,
    ):
        while step < settings.max_steps:
            lr = learning_rate(settings, step)
            for positions, _, x, y, generator in batches.of(step * settings.global_batch_size):
                x0 = encode(x, generator)  # (n, C, H, W)
                y = drop_labels(y, recipe.model.class_dropout_prob, null, generator)  # (n,)
                seed_torch(recipe.seed, int(positions[0]))
                loss = objective_loss(engine, x0, y, generator=generator).mean()
                engine.backward(loss)
                loss_sum += loss.detach() * (micro / share)
            update = engine.step(lr)
            for ema in emas.values() if update.applied else ():
                ema.update(engine)
            step += 1

            stopping = distributed.any_of(stop.requested() is not None)
            if step % settings.log_every == 0 or step == settings.max_steps or stopping or watch.due(step):
                speed = rate.read(step)
                values = {
                    "step": step,
                    "images_seen": step * settings.global_batch_size,
                    "loss": distributed.mean(loss_sum) / (step - logged),
                    "grad_norm": update.grad_norm,
                    "lr": lr,
                    **speed,
                    "data_wait": batches.waited_share(speed["seconds"]),
                }
                if not math.isfinite(values["loss"]) or (update.applied and not math.isfinite(update.grad_norm)):
                    raise NonFiniteError(
                        f"training is no longer finite at step {step}: loss {values['loss']}, gradient norm "
                        f"{update.grad_norm}; a lower train.lr, train.gradient_clipping or precision 'fp32' may help"
                    )
                values |= watch(step, log)
                log.write(values)
                bar.show(**shown(values))
                loss_sum, logged = torch.zeros_like(loss_sum), step
                rate.start(step)
            bar.advance()
            if step % settings.checkpoint_every == 0 or step == settings.max_steps or stopping:
                checkpoint.save(
                    folder / "checkpoints",
                    step,
                    lambda path: save_state(path, engine, emas, files),
                    keep=settings.checkpoint_keep,
                    info={
                        "images_seen": step * settings.global_batch_size,
                        "micro_batch_size": micro,
                        "ema_updates": emas["ema"].updates,
                    },
                )
                saved = step
            if stopping and step < settings.max_steps:
                raise Interrupted(
                    f"stopped at step {saved} of {settings.max_steps}; the same command goes on from there"
                )
    return step
