"""Which predictions are kept, and how many at a time."""

import numpy as np
import pytest
import torch

from dit_toolkit.drawing.film import Film, joined


def filmed(calls, limit, told):
    film, most = Film(lambda x: x, limit), 0
    for i in range(1, calls + 1):
        film(i, calls if told else None, torch.full((1, 1, 1, 1), 2 * i / calls - 1))
        most = max(most, len(film.kept))
    last = np.full((1, 1, 1, 3), 7, np.uint8)
    return film.take(last)[:, 0, 0, 0, 0].astype(int), most


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("calls", "limit"), [(1, 2), (5, 30), (23, 30), (100, 10), (1000, 30), (997, 2), (250, 7)])
def test_few_frames_evenly_spread_with_the_first_and_the_last(calls, limit, told):
    frames, most = filmed(calls, limit, told)
    assert len(frames) == min(calls + 1, limit)
    assert frames[0] == int(127.5 * (2 / calls - 1) + 128)
    assert frames[-1] == 7
    assert most <= 2 * limit + 1
    steps = np.diff(frames[:-1])
    assert (steps > 0).all()
    assert len(steps) == 0 or steps.max() <= 2 * steps.min() + 2


def test_films_of_other_lengths_go_on_together():
    short, long = (np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1, 1).repeat(2, 1) for n in (3, 5))
    both = joined([short, long])
    assert both.shape == (5, 4, 1, 1, 1)
    assert both[:, 0, 0, 0, 0].tolist() == [0, 0, 1, 2, 2]
    assert both[:, 2, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
