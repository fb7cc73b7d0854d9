"""The training loop: one function that reads from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from dit_toolkit import checkpoint, distributed, stop, watchdog
from dit_toolkit.build import build_model
from dit_toolkit.errors import Interrupted
from dit_toolkit.optimizers import build_optimizer
from dit_toolkit.progress import progress
from dit_toolkit.random import seed_torch
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.recipe.sizes import split_batch
from dit_toolkit.training.batches import Batches
from dit_toolkit.training.data import open_data
from dit_toolkit.training.ema import averages
from dit_toolkit.training.faults import Faults, Seen
from dit_toolkit.training.fit import micro_batch_size
from dit_toolkit.training.kernels import compile_blocks, float32_products
from dit_toolkit.training.loss import loss_of
from dit_toolkit.training.order import drop_labels
from dit_toolkit.training.rate import Rate, shown
from dit_toolkit.training.saving import Saver
from dit_toolkit.training.schedule import learning_rate
from dit_toolkit.training.state import Log, load_state
from dit_toolkit.training.watch import Watch


def train(recipe: AnyRecipe, folder: Path, *, files: Mapping[str, str], resume: Path | None = None) -> int:
    """Train a recipe in a run folder, from the start or from a checkpoint; returns the step reached.

    Args:
        files: texts to put into every checkpoint (recipe.toml, provenance.json).
        resume: verified checkpoint to go on from.

    Raises:
        Interrupted: a signal asked to stop; the state is saved.
        NonFiniteError: loss or gradient are not finite, and train.non_finite does not go on; nothing is saved.
    """
    settings, device = recipe.train, distributed.device()
    distributed.initialise()
    data, encode = open_data(recipe, "train", device)
    objective_loss = loss_of(recipe, device)
    share, micro = split_batch(settings, distributed.size())
    before = checkpoint.read_manifest(resume) if resume else {}
    if settings.micro_batch_size is None:  # A resumed run keeps its number, with which its sums round the same.
        kept = before.get("micro_batch_size")
        micro = kept if kept and share % kept == 0 else micro_batch_size(recipe, share)
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
    norm = 0.0
    losses: list[float] = []
    with (
        float32_products(settings.tf32, device),
        progress("train", settings.max_steps, done=step) as bar,
        Log(folder, settings, recipe, step) as log,
        Saver(folder / "checkpoints", settings, files) as saver,
        batches,
    ):
        faults = Faults(settings, folder, before.get("faults"), settle=saver.wait)
        if before.get("look_again"):
            log.amend(step, watch(step, log))
            if watch.cut:
                raise _interrupted(step, settings.max_steps)
            rate.start(step)
        while step < settings.max_steps:
            lr, seen = learning_rate(settings, step), Seen()
            for positions, indices, x, y, generator in batches.of(faults.position(step)):
                x0 = encode(x, generator)  # (n, C, H, W)
                y = drop_labels(y, recipe.model.class_dropout_prob, null, generator)  # (n,)
                seed_torch(recipe.seed, int(positions[0]))
                loss = objective_loss(engine, x0, y, generator=generator)  # (n,)
                engine.backward(loss.mean())
                seen.add(indices, loss)
                watchdog.beat()  # A step of many micro-batches may take longer than a process may be silent.
            mean, stopping = distributed.agree(seen.mean(), stop.requested() is not None or saver.failed)
            update = engine.step(lr, faults.largest_norm(mean))
            step += 1

            saving = step % settings.checkpoint_every == 0 or step == settings.max_steps or stopping
            weights = (
                [*engine.master(), *(t for ema in emas.values() for t in ema.shadow)]
                if saving or watch.due(step)
                else None
            )
            action = faults.judge(step, mean, update, weights, seen)
            if action == "rollback":
                back = faults.roll_back(step, lambda path: load_state(path, engine, emas, recipe))
                log.forget_after(back)
                bar.advance(back - step)
                rate.start(back)
                step, losses = back, []
                continue
            if action == "none":
                losses.append(mean)
            if update.applied:
                norm = update.grad_norm
            for ema in emas.values() if update.applied else ():
                ema.update(engine)

            logging = step % settings.log_every == 0 or step == settings.max_steps or stopping or watch.due(step)
            if losses and logging:
                speed = rate.read(step)
                values = {
                    "step": step,
                    "images_seen": step * settings.global_batch_size,
                    "loss": math.fsum(losses) / len(losses),
                    "grad_norm": norm,
                    "lr": lr,
                    **speed,
                    "data_wait": batches.waited_share(speed["seconds"]),
                }
                values |= watch(step, log)
                log.write(values)
                bar.show(**shown(values))
                losses = []
                rate.start(step)
                stopping = stopping or watch.cut
            bar.advance()
            if saving or stopping:
                faults.saved()
                info = {
                    "images_seen": step * settings.global_batch_size,
                    "micro_batch_size": micro,
                    "ema_updates": emas["ema"].updates,
                    "faults": faults.state(),
                    "look_again": watch.cut,
                }
                saver.save(step, engine, emas, info)
            if stopping and step < settings.max_steps:
                raise _interrupted(step, settings.max_steps)
    return step


def _interrupted(step: int, last: int) -> Interrupted:
    return Interrupted(f"stopped at step {step} of {last}; the same command goes on from there")
