"""Micro-batches made ready beforehand are those that would be made when they are asked for."""

import json
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

from dit_toolkit import distributed, load_recipe
from dit_toolkit.datasets.fashion import FashionSplit
from dit_toolkit.errors import DataError
from dit_toolkit.random import Generator
from dit_toolkit.run import run
from dit_toolkit.training import loop
from dit_toolkit.training.batches import AHEAD, Batches
from dit_toolkit.training.order import Order
from tests.conftest import ROOT, SMALL


class Items:
    """Items that show index and draws; `asked` are the batches made, and `fault` fails."""

    def __init__(self, length=10, fault=None, seconds=0.0):
        self.labels = np.arange(length) % 3
        self.asked, self.fault, self.seconds = [], fault, seconds

    def __len__(self):
        return len(self.labels)

    def batch(self, indices, generator=None):
        time.sleep(self.seconds)
        self.asked.append(indices.tolist())
        if self.fault in indices:
            raise DataError(f"item {self.fault} cannot be read")
        x = generator.rand()[:, None, None, None] + torch.from_numpy(indices)[:, None, None, None]
        return x, torch.from_numpy(self.labels[indices])


@pytest.fixture
def recipe():
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "train.global_batch_size=6", "seed=5"])


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def flat(batches, positions):
    """All that the steps at some positions are given, with the draw that follows."""
    found = []
    for position in positions:
        for batch in batches.of(position):
            x = batch.x.flatten().tolist()
            drawn = batch.generator.rand().tolist()
            found.append((batch.positions.tolist(), batch.indices.tolist(), x, batch.y.tolist(), drawn))
    return found


STEPS = range(0, 60, 6)


def test_reading_ahead_changes_nothing(recipe):
    found = []
    for ahead in (0, 1, AHEAD, 7):
        with Batches(recipe, Items(), 2, "cpu", ahead=ahead) as batches:
            found.append(flat(batches, STEPS))
    assert found[0] == found[1] == found[2] == found[3]


def test_they_are_functions_of_seed_and_position(recipe):
    order = Order(5, 10)
    with Batches(recipe, Items(), 3, "cpu") as batches:
        for number, (positions, indices, x, y, drawn) in enumerate(flat(batches, STEPS)):
            assert positions == list(range(3 * number, 3 * number + 3))
            assert indices == order[np.array(positions)].tolist()
            generator = Generator(5, "train", positions)
            assert x == (generator.rand() + torch.tensor(indices)).tolist()
            assert (y, drawn) == ([index % 3 for index in indices], generator.rand().tolist())


def test_each_process_has_its_share(recipe, monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    for rank, expected in enumerate(([0, 1, 2], [3, 4, 5])):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        with Batches(recipe, Items(), 1, "cpu") as batches:
            for position in STEPS:
                found = [int(batch.positions[0]) - position for batch in batches.of(position)]
                assert found == expected


def test_training_may_go_back_or_pass_over(recipe):
    jumps = [0, 6, 0, 6, 12, 30, 36, 33, 33]
    with Batches(recipe, Items(), 2, "cpu", ahead=0) as plain, Batches(recipe, Items(), 2, "cpu") as batches:
        assert flat(batches, jumps) == flat(plain, jumps)


def test_so_many_are_made_beforehand_and_no_more(recipe):
    items = Items()
    with Batches(recipe, items, 2, "cpu") as batches:
        next(batches.of(0))
        deadline = time.monotonic() + 10
        while len(items.asked) < 1 + AHEAD and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(items.asked) == 1 + AHEAD


def test_an_error_of_the_data_comes_at_its_place(recipe):
    order = Order(5, 10)
    at = int(np.flatnonzero(order[np.arange(10)] == 4)[0])
    for ahead in (0, AHEAD):
        seen = []

        def train(ahead=ahead, seen=seen):
            with Batches(recipe, Items(fault=4), 2, "cpu", ahead=ahead) as batches:
                for position in STEPS:
                    seen.extend(int(batch.positions[0]) for batch in batches.of(position))

        with pytest.raises(DataError, match="item 4 cannot be read"):
            train()
        assert seen == list(range(0, at - at % 2, 2))
        assert threads() == []


def test_the_thread_ends_with_the_loop_whatever_ends_that(recipe):
    for error in (None, KeyboardInterrupt, DataError("elsewhere")):
        try:
            with Batches(recipe, Items(seconds=0.01), 2, "cpu") as batches:
                next(batches.of(0))
                assert len(threads()) == 1
                if error:
                    raise error
        except (KeyboardInterrupt, DataError):
            pass
        assert threads() == []


def test_the_share_of_waiting(recipe):
    with Batches(recipe, Items(seconds=0.02), 6, "cpu", ahead=0) as batches:
        began = time.perf_counter()
        flat(batches, (0, 6, 12))
        share = batches.waited_share(time.perf_counter() - began)
        assert 0.06 / (time.perf_counter() - began) <= share <= 1
        assert batches.waited_share(1.0) == 0


def test_a_run_is_the_same_without_reading_ahead(small_run, tmp_path, monkeypatch):
    recipe, folder = small_run
    monkeypatch.setattr(loop, "Batches", partial(Batches, ahead=0))
    again = run(recipe, name="again", out=tmp_path / "again", stages=["train"])
    one, other = (
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()] for path in (folder, again)
    )
    assert [(line["loss"], line["grad_norm"]) for line in one] == [(line["loss"], line["grad_norm"]) for line in other]
    assert all(0 < line["data_wait"] < 1 for line in one + other)


def test_a_run_whose_data_fail_ends_with_their_message(small_run, tmp_path, monkeypatch):
    batch = FashionSplit.batch

    def failing(self, indices, generator=None):
        if generator is not None and int(generator.index[0]) >= 16:
            raise DataError("the third step cannot be read")
        return batch(self, indices, generator)

    monkeypatch.setattr(FashionSplit, "batch", failing)
    with pytest.raises(DataError, match="the third step cannot be read"):
        run(small_run[0], name="failing", out=tmp_path / "failing", stages=["train"])
    assert len((tmp_path / "failing/metrics.jsonl").read_text().splitlines()) == 2
    assert threads() == []
