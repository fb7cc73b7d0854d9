"""diffusers' `DiTPipeline`: a transformer, an autoencoder and a noise schedule in the folders of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from dit_toolkit.autoencoders.kl import KL
from dit_toolkit.errors import CheckpointError, RecipeError
from dit_toolkit.interop.diffusers.config import whole
from dit_toolkit.interop.diffusers.files import VERSION, read_json, write_json
from dit_toolkit.recipe.schema import Recipe

NULL_CLASS = 1000
"""The label that the pipeline takes for "no class", whatever the model."""
INDEX = "model_index.json"
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "squared-cosine"}
PLAIN = {"prediction_type": "epsilon", "trained_betas": None, "rescale_betas_zero_snr": False, "thresholding": False}
"""Options of a schedule that make it another one where they have another value."""
SAMPLE = {"cfg_scale": 4.0, "sampler": {"kind": "ddim", "num_steps": 50}}
"""What the pipeline does unless told otherwise."""


@frozen(kw_only=True)
class Pipeline:
    """Where the transformer is, and tables of a recipe for the rest."""

    transformer: Path
    vae: Path | None
    objective: dict[str, Any]
    sample: dict[str, Any]


def read_pipeline(folder: Path) -> Pipeline:
    """Read the folder of a pipeline, or of a transformer alone.

    Raises:
        CheckpointError: it is of another pipeline, or has a noise schedule that no recipe can describe.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is not a folder, as diffusers writes them")
    if not (folder / INDEX).is_file():
        return Pipeline(transformer=folder, vae=None, objective={"kind": "ddpm"}, sample=SAMPLE)
    kind = read_json(folder / INDEX).get("_class_name")
    if kind != "DiTPipeline":
        raise CheckpointError(f"{folder}: is a {kind!r}, not a DiTPipeline")
    path = folder / "scheduler" / "scheduler_config.json"
    scheduler = read_json(path)
    return Pipeline(
        transformer=folder / "transformer",
        vae=folder / "vae",
        objective=_objective(scheduler, str(path)),
        sample={**SAMPLE, "sampler": _sampler(scheduler, str(path))},
    )


def write_pipeline(folder: Path, recipe: Recipe) -> None:
    """Put all but the transformer into a new folder.

    Raises:
        RecipeError: the recipe's autoencoder or number of classes is not for this pipeline.
        DataError: the autoencoder is not there.
    """
    autoencoder, classes = recipe.autoencoder, recipe.dataset.class_names
    if not isinstance(autoencoder, KL):
        raise RecipeError(
            f"autoencoder.kind: a DiTPipeline needs one of kind 'kl', got {autoencoder.kind!r}; --no-autoencoder "
            "exports the transformer alone"
        )
    if len(classes) > NULL_CLASS:
        raise RecipeError(
            f"model.num_classes: a DiTPipeline takes label {NULL_CLASS} for the null class, so it has at most "
            f"{NULL_CLASS} classes, got {len(classes)}; --no-autoencoder exports the transformer alone"
        )
    vae: Any = autoencoder.load()
    if vae.shift.any() or vae.scale.numel() > 1:
        raise RecipeError("autoencoder.path: a DiTPipeline knows one scaling factor; this one shifts its latents too")
    folder.mkdir()
    vae.model.save_pretrained(folder / "vae", safe_serialization=True)
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", _scheduler(recipe))
    write_json(
        folder / INDEX,
        {
            "_class_name": "DiTPipeline",
            "_diffusers_version": VERSION,
            "id2label": {str(label): name for label, name in enumerate(classes)},
            "scheduler": ["diffusers", "DDIMScheduler"],
            "transformer": ["diffusers", "DiTTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )


def vae_options(folder: Path) -> dict[str, Any]:
    """Options of an autoencoder of kind `kl` for a folder, with what its config says."""
    inner = folder / "vae"
    config = read_json((inner if (inner / "config.json").is_file() else folder) / "config.json")
    blocks = config.get("block_out_channels", [64])
    if not isinstance(blocks, list) or not blocks:
        raise CheckpointError(f"{folder}: block_out_channels must be a list of channels, got {blocks!r}")
    channels = whole({"latent_channels": 4, **config}, "latent_channels", str(folder))
    return {"path": str(folder.resolve()), "latent_channels": channels, "downsampling": 2 ** (len(blocks) - 1)}


def _objective(scheduler: dict[str, Any], source: str) -> dict[str, Any]:
    others = [f"{key} = {scheduler[key]!r}" for key, value in PLAIN.items() if scheduler.get(key, value) != value]
    if scheduler.get("beta_schedule") not in list(SCHEDULES):
        others.append(f"beta_schedule = {scheduler.get('beta_schedule')!r}")
    if others:
        raise CheckpointError(f"{source}: the objective 'ddpm' has no such schedule: {', '.join(others)}")
    steps = whole(scheduler, "num_train_timesteps", source)
    table: dict[str, Any] = {"kind": "ddpm", "num_timesteps": steps}
    table["beta_schedule"] = SCHEDULES[scheduler["beta_schedule"]]
    if table["beta_schedule"] == "linear":
        for key, default in (("beta_start", 1e-4), ("beta_end", 0.02)):
            value = scheduler.get(key)
            if not isinstance(value, float):
                raise CheckpointError(f"{source}: {key} must be a number, got {value!r}")
            if value != default * 1000 / steps:
                table[key] = value
    return table


def _sampler(scheduler: dict[str, Any], source: str) -> dict[str, Any]:
    steps = min(50, whole(scheduler, "num_train_timesteps", source))
    clip = {"clip_x0": scheduler.get("clip_sample_range", 1.0)} if scheduler.get("clip_sample", True) else {}
    return {"kind": "ddim", "num_steps": steps, **clip}


def _scheduler(recipe: Recipe) -> dict[str, Any]:
    """The config of a `DDIMScheduler`; "trailing" steps begin at the noise, as ours do."""
    objective: Any = recipe.objective
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": VERSION,
        "beta_end": float(objective.betas[-1]),
        "beta_schedule": next(name for name, ours in SCHEDULES.items() if ours == objective.beta_schedule),
        "beta_start": float(objective.betas[0]),
        "clip_sample": False,
        "num_train_timesteps": objective.num_timesteps,
        "prediction_type": "epsilon",
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "timestep_spacing": "trailing",
        "trained_betas": None,
    }
