"""What a trained autoencoder is worth, and its folder in the layout of diffusers."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from dit_toolkit import checkpoint, distributed, stop
from dit_toolkit.build import build_model
from dit_toolkit.components import Split
from dit_toolkit.errors import DataError, Interrupted, StorageError
from dit_toolkit.grids.sheet import grid
from dit_toolkit.images import to_uint8
from dit_toolkit.nn.autoencoder import Autoencoder
from dit_toolkit.progress import log, progress, warn
from dit_toolkit.recipe.autoencoder import AutoencoderRecipe
from dit_toolkit.weights import newest_checkpoint

FOLDER = "autoencoder"
"""In the run folder."""
MEASURED = "measured.json"
PICTURE = "reconstructions.png"
MOST = 50_000
"""Images behind a figure, spread over the split."""
BATCH = 32
ROWS, PAIRS = 10, 8
"""Classes in the picture, and images of each beside their reconstructions."""


@torch.inference_mode()
def write_autoencoder(recipe: AutoencoderRecipe, run: Path) -> dict[str, Any]:
    """Measure the newest averaged weights of a run with all processes, and write them to its folder `autoencoder`.

    The folder holds config.json and diffusion_pytorch_model.safetensors, which diffusers and the kind `kl` read,
    measured.json with what is returned, and reconstructions.png. Its scaling and shift give the latents of the
    training images mean 0 and standard deviation 1. One of older weights is replaced, one of these left alone.

    Returns:
        `psnr` in dB of held-out images decoded from the mode of their posterior; `mean` and `std` of the unscaled
        latents of the training images, and those of each channel; `step` and what else they depend on.

    Raises:
        CheckpointError: the run has no checkpoint.
        DataError: the images cannot be read.
        Interrupted: a signal asked to stop.
        StorageError: the disk is full or not writable.
    """
    found = distributed.main_alone(lambda: newest_checkpoint(run))
    manifest, place = checkpoint.read_manifest(found), run / FOLDER
    digest = manifest["files"]["ema.safetensors"][1]
    measured = read_measured(run)
    if distributed.broadcast(measured.get("weights_sha256")) == digest:
        return measured
    model = build_model(recipe)
    model.load_state_dict(load_file(found / "ema.safetensors"))
    model.to(distributed.device()).eval()
    held_out, name = _held_out(recipe)
    measured = {
        "step": manifest["step"],
        "weights_sha256": digest,
        "psnr": psnr(model, held_out),
        "psnr_of": f"{min(len(held_out), MOST)} images of {name}",
        **moments(model, recipe.dataset.open("train")),
    }
    if distributed.rank() == 0:
        model.kl.register_to_config(scaling_factor=1 / measured["std"], shift_factor=measured["mean"])
        try:
            _write(place, model, measured, picture(model, held_out, recipe.dataset.class_names))
        except OSError as error:
            raise StorageError(f"{place}: cannot be written: {error}") from error
    distributed.barrier()
    log(f"{place}: PSNR {measured['psnr']:.2f} dB; {PICTURE} in it shows images beside their reconstructions")
    return measured


def read_measured(run: Path) -> dict[str, Any]:
    """What was measured of the autoencoder in a run folder; nothing where there is none."""
    try:
        found: dict[str, Any] = json.loads((run / FOLDER / MEASURED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def psnr(model: Autoencoder, split: Split) -> float:
    """Peak signal-to-noise ratio in dB, of the mean squared error of 8-bit images over all of them."""

    def errors(x: Tensor) -> Tensor:
        right, seen = (to_uint8(images.cpu()).astype(np.float64) for images in (x, reconstruct(model, x)))
        return torch.tensor(np.square(seen - right).mean((1, 2, 3)).sum())  # ()

    total, count = _sum(split, errors, "measure PSNR")
    error = float(total) / count
    return 10 * math.log10(255**2 / error) if error else math.inf


def moments(model: Autoencoder, split: Split) -> dict[str, Any]:
    """Mean and standard deviation of latents drawn from the posteriors of images, in closed form, and by channel."""

    def powers(x: Tensor) -> Tensor:
        mean, log_variance = (part.double() for part in model.moments(x))  # (N, c, h, w), (N, c, h, w)
        square = mean.square() + log_variance.exp()  # (N, c, h, w)
        return torch.stack([part.mean((2, 3)).sum(0) for part in (mean, square)]).cpu()  # (2, c)

    total, count = _sum(split, powers, "measure latents")
    mean, square = total / count
    by_channel = [{"mean": float(m), "std": float((s - m * m).sqrt())} for m, s in zip(mean, square, strict=True)]
    whole = float(mean.mean())
    return {"mean": whole, "std": float((square.mean() - whole**2).sqrt()), "channels": by_channel}


def reconstruct(model: Autoencoder, x: Tensor) -> Tensor:
    """Decode images (N, C, H, W) from the mode of their posterior."""
    return model.decode(model.moments(x)[0])


def picture(model: Autoencoder, split: Split, class_names: Any) -> Image.Image:
    """Draw images of the first classes, each beside its reconstruction."""
    chosen = [
        index for label in np.unique(split.labels)[:ROWS] for index in np.flatnonzero(split.labels == label)[:PAIRS]
    ]
    x, y = split.batch(np.asarray(chosen))
    pairs = np.stack([to_uint8(x), to_uint8(reconstruct(model, x.to(distributed.device())).cpu())], axis=1)
    return grid(pairs.reshape(-1, *pairs.shape[2:]), y.numpy().repeat(2), class_names, nrow=2 * PAIRS)


def _held_out(recipe: AutoencoderRecipe) -> tuple[Split, Literal["train", "val"]]:
    """The images to judge by: those held out, or the training images where there are none."""
    try:
        return recipe.dataset.open("val"), "val"
    except DataError as error:
        warn(f"{error.lines[0]}; the autoencoder is judged by images that it learnt from")
        return recipe.dataset.open("train"), "train"


def _sum(split: Split, of: Callable[[Tensor], Tensor], what: str) -> tuple[Tensor, int]:
    """Sum of `of(x)` over batches x (N, C, H, W) of a split, done by all processes, and the number of images."""
    chosen = np.linspace(0, len(split) - 1, min(len(split), MOST)).round().astype(np.int64)
    mine = [of(split.batch(index)[0].to(distributed.device())) for index in _turns(chosen, what)]
    parts = [part for parts in distributed.gather(mine) for part in parts]
    return torch.stack(parts).sum(0), len(chosen)


def _turns(chosen: np.ndarray, what: str) -> Iterator[np.ndarray]:
    """This process's batches, in step with the others."""
    step = BATCH * distributed.size()
    with progress(what, len(chosen)) as bar:
        for turn in range(0, len(chosen), step):
            first = turn + BATCH * distributed.rank()
            if first < len(chosen):
                yield chosen[first : first + BATCH]
            bar.advance(min(step, len(chosen) - turn))
            if distributed.any_of(stop.requested() is not None):
                raise Interrupted("stopped while measuring the autoencoder; the same command goes on")


def _write(place: Path, model: Autoencoder, measured: dict[str, Any], shown: Image.Image) -> None:
    """Write the folder aside and put it in the place of an older one."""
    temporary, old = place.with_name(f".{place.name}.tmp"), place.with_name(f".{place.name}.old")
    for left in (temporary, old):
        shutil.rmtree(left, ignore_errors=True)
    model.kl.save_pretrained(temporary, safe_serialization=True)
    (temporary / MEASURED).write_text(json.dumps(measured, indent=1), encoding="utf-8")
    shown.save(temporary / PICTURE)
    if place.exists():
        place.rename(old)
    temporary.rename(place)
    shutil.rmtree(old, ignore_errors=True)
