"""From one class to another: the same noise, with class embeddings on the line between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from dit_toolkit.drawing.plan import Part, Plan
from dit_toolkit.errors import RecipeError
from dit_toolkit.grids.sheet import Head, Layout
from dit_toolkit.nn.dit import DiT
from dit_toolkit.sampling import Trained


def of_interpolation(
    trained: Trained,
    chain: Sequence[int],
    *,
    nrow: int = 10,
    rows: int = 4,
    image_size: int | None = None,
) -> Plan:
    """A row for each noise; along it the class embedding goes through the classes of a chain, in equal steps.

    Embeddings are interpolated linearly. The ends are the classes themselves, and guidance has the null class that it
    has without interpolation.

    Args:
        chain: at least two classes, such as 3, 7, 9.
        nrow: most images in a row.
        rows: noises.

    Raises:
        RecipeError: fewer than two classes, or more than fit in a row.
    """
    if len(chain) < 2:
        raise RecipeError("interpolate: give at least two classes, such as 3,7")
    steps = (nrow - 1) // (len(chain) - 1)
    if steps < 1:
        raise RecipeError(f"interpolate: {len(chain)} classes do not fit into a row of {nrow} images")
    trained.check()
    pairs = [(a, b, step / steps) for a, b in pairwise(chain) for step in range(1, steps)]
    first = len(_table(trained))
    line = [chain[0]]
    for number, label in enumerate(chain[1:]):
        line += [*range(first + number * (steps - 1), first + (number + 1) * (steps - 1)), label]
    columns, guide = len(line), trained.guide if trained.recipe.sample.cfg_scale != 1 else None
    part = Part(
        trained=_extended(trained, pairs),
        labels=np.tile(line, rows),
        index=np.repeat(np.arange(rows), columns),
        guide=_extended(guide, pairs) if guide else None,
    )
    heads = [Head(trained.class_names[label] if i % steps == 0 else "", 1) for i, label in enumerate(line)]
    places = np.arange(rows * columns).reshape(rows, columns)
    return Plan(parts=[part], layout=Layout(places=places, names=[""] * rows, heads=heads), image_size=image_size)


def _extended(trained: Trained, pairs: Sequence[tuple[int, int, float]]) -> Trained:
    """The model with rows after those of its label table, (1 - w) a + w b for each (a, b, w); it shares the weights."""
    table = _table(trained)  # (classes and, where there is one, the null class; D)
    new = [torch.lerp(table[a], table[b], weight)[None] for a, b, weight in pairs]
    rows = torch.cat([table, *new])
    model: Any = deepcopy(trained.model, {id(each): each for each in _weights(trained.model)})
    model.label_embed = nn.Embedding(len(rows), rows.shape[1], _weight=rows, _freeze=True)
    return attrs.evolve(trained, model=model, between=len(pairs))


def _table(trained: Trained) -> Tensor:
    if not isinstance(trained.model, DiT):
        raise TypeError(f"only a DiT has class embeddings; seen {type(trained.model).__name__}")
    return trained.model.label_embed.weight


def _weights(model: Any) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
