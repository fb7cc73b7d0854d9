"""What is told of samples: everything that they depend on, and who drew them."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from torch import nn

from dit_toolkit.nn.dit import count_parameters
from dit_toolkit.provenance import provenance
from dit_toolkit.recipe.schema import Sample
from dit_toolkit.recipe.structure import unstructure
from dit_toolkit.sampling import Trained

APART = ("num_samples", "batch_size", "decode_batch_size", "grid_columns", "labels")
"""Options of [sample] on which an image does not depend but for rounding; its label is told apart."""


def describe(trained: Trained) -> dict[str, Any]:
    """Everything that an image with its number and label depends on, as plain JSON."""
    recipe, written = trained.recipe, unstructure(trained.recipe)
    options = {name: written["sample"].get(name) for name in attrs.fields_dict(Sample) if name not in APART}
    guide = trained.guide if recipe.sample.cfg_scale != 1 else None
    return {
        "step": trained.step,
        **options,
        "weights": trained.weights,
        "weights_sha256": trained.digest,
        "guide_sha256": guide.digest if guide else None,
        "classes": recipe.sample.labels,
        "image": list(recipe.dataset.shape),
        "model": written["model"],
        "objective": written["objective"],
        "autoencoder": {**written["autoencoder"], "fingerprint": trained.fingerprint},
    }


def sidecar(trained: Trained, facts: dict[str, Any], labels: np.ndarray) -> dict[str, Any]:
    """Everything about a file of samples: what they depend on, who drew them, and the class of each."""
    recipe = trained.recipe
    chosen, count = recipe.sample.labels, recipe.model.num_classes
    unfit = chosen and f"labels: {len(set(chosen))} of {count} classes were chosen, and a reference has all of them"
    return {
        **{name: getattr(recipe.sample, name) for name in APART if name != "labels"},
        **facts,
        "parameters": count_parameters(trained.model) if isinstance(trained.model, nn.Module) else None,
        "fit_for_fid": unfit is None,
        "unfit_for_fid": unfit,
        "provenance": provenance(recipe),
        "class_names": list(trained.class_names),
        "labels": labels.tolist(),
    }
