"""Models of diffusers: the folder of a `DiTTransformer2DModel`, or of a `DiTPipeline` with one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dit_toolkit.errors import RecipeError
from dit_toolkit.interop.architecture import Architecture
from dit_toolkit.interop.diffusers.config import architecture_in, config_of, whole
from dit_toolkit.interop.diffusers.files import read_json, read_state, write_model
from dit_toolkit.interop.diffusers.names import from_ours, from_theirs, pad_classes
from dit_toolkit.interop.diffusers.pipeline import NULL_CLASS, read_pipeline, write_pipeline
from dit_toolkit.interop.foreign import Foreign, Kind, State
from dit_toolkit.recipe.schema import Recipe


def read(path: Path, *, num_heads: int | None, kind: Kind | None) -> Foreign:
    """Read a folder.

    Raises:
        CheckpointError: it cannot be read, or is of another architecture.
        RecipeError: it has another number of heads.
    """
    pipeline = read_pipeline(path)
    config = read_json(pipeline.transformer / "config.json")
    state, files = read_state(pipeline.transformer)
    model = architecture_in(config, state, str(pipeline.transformer))
    if num_heads not in (None, model.num_heads):
        raise RecipeError(f"{path}: its config.json says {model.num_heads} attention heads, --num-heads {num_heads}")
    rows = whole(config, "num_embeds_ada_norm", str(pipeline.transformer)) + 1
    return Foreign(
        model=model,
        state=state,
        from_ours=lambda ours: from_ours(pad_classes(ours, rows), model),
        from_theirs=partial(from_theirs, model=model, source=str(pipeline.transformer)),
        kind=kind or "ema",
        files=files,
        autoencoder=pipeline.vae,
        objective=pipeline.objective,
        sample=pipeline.sample,
    )


def write(path: Path, state: State, model: Architecture, pipeline: Recipe | None) -> None:
    """Make the folder of a pipeline for this recipe, or of the transformer alone.

    Raises:
        RecipeError: it cannot express the model; each option that stands in the way is named.
        DataError: the autoencoder is not there.
    """
    config = config_of(model)
    if pipeline:
        write_pipeline(path, pipeline)
        path /= "transformer"
        config["num_embeds_ada_norm"] = NULL_CLASS
        state = pad_classes(state, NULL_CLASS + 1)
    write_model(path, config, from_ours(state, model))
