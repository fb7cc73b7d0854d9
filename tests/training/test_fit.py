"""How many images are taken at a time where a recipe leaves it open."""

import attrs
import pytest

from dit_toolkit import distributed, load_recipe
from dit_toolkit.flops import activations, costs_of, memory, state_options
from dit_toolkit.training import fit
from tests.conftest import ROOT, SMALL


@pytest.fixture
def recipe():
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "train.global_batch_size=24"])


def free(monkeypatch, count):
    monkeypatch.setattr(distributed, "free_memory", lambda device: count)


def needed(recipe, images):
    """Free bytes with which so many images fit, by the formula of the estimate."""
    costs = costs_of(recipe)
    state = memory(costs.trainable, **state_options(recipe, costs))[0].device
    return (images * 1.3 * activations(recipe) + 8 * costs.trainable + state) / 0.85


@pytest.mark.parametrize(("images", "fitting"), [(24, 24), (23.9, 12), (12.1, 12), (11, 8), (7, 6), (2, 2)])
def test_the_largest_divisor_that_fits(recipe, monkeypatch, images, fitting):
    free(monkeypatch, needed(recipe, images) + 64)
    assert fit.micro_batch_size(recipe, 24) == fitting


def test_blocks_that_are_run_again_and_averages_are_counted(recipe, monkeypatch):
    free(monkeypatch, needed(recipe, 7))
    again = attrs.evolve(recipe, train=attrs.evolve(recipe.train, activation_checkpointing=1))
    assert fit.micro_batch_size(again, 24) > fit.micro_batch_size(recipe, 24)
    averaged = attrs.evolve(recipe, train=attrs.evolve(recipe.train, ema_more=[i / 100 for i in range(50)]))
    assert fit.micro_batch_size(averaged, 24) < fit.micro_batch_size(recipe, 24)


def test_too_little_memory_is_one_image_and_a_warning(recipe, monkeypatch, capsys):
    free(monkeypatch, 1000)
    assert fit.micro_batch_size(recipe, 24) == 1
    told = capsys.readouterr().err
    assert "1 of the 24 images of a step at a time" in told
    assert "may be too little" in told


def test_sharded_state_leaves_more_room(monkeypatch):
    recipe = load_recipe(
        ROOT / "recipes/xl2.toml", set=["dataset.kind=synthetic", "model.depth=2", "train.backend.zero_stage=3"]
    )
    free(monkeypatch, 4 * 2**30)
    alone = fit.micro_batch_size(recipe, 256)
    monkeypatch.setattr("dit_toolkit.distributed.size", lambda: 8)
    monkeypatch.setattr("dit_toolkit.distributed.broadcast", lambda value: value)
    assert fit.micro_batch_size(recipe, 256) > alone


def test_a_network_that_cannot_be_counted_takes_the_whole_share(recipe, monkeypatch):
    block = attrs.evolve(recipe.model.block, attention="flex", attention_dropout=0.1)
    recipe = attrs.evolve(recipe, model=attrs.evolve(recipe.model, block=block))
    free(monkeypatch, 0)
    assert fit.micro_batch_size(recipe, 24) == 24


def test_this_machine_has_free_memory():
    assert 2**24 < distributed.free_memory("cpu") < 2**50
