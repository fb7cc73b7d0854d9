"""How many images are taken at a time where a recipe leaves it open."""

import attrs
import pytest
import torch

from dit_toolkit import distributed, load_recipe
from dit_toolkit.errors import OutOfMemory, out_of_memory
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


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "python"],
)
def test_running_out_of_memory_says_what_to_change(recipe, error):
    with pytest.raises(OutOfMemory) as caught, fit.explaining(recipe):
        raise error
    first, *rest = caught.value.lines
    assert "GiB for 24 images at a time and 0.0 GiB of model state on each of 1 process(es)" in first
    assert "  train.micro_batch_size = 12: the same steps from smaller parts" in rest
    assert any('train.precision = "bf16"' in line for line in rest)
    assert any("train.activation_checkpointing = 1" in line for line in rest)
    assert caught.value.exit_code == 2


def test_the_memory_of_the_error_is_that_of_the_estimate(monkeypatch):
    recipe = load_recipe(ROOT / "recipes/xl2.toml", set=["dataset.kind=synthetic", "model.depth=2"])
    monkeypatch.setattr("dit_toolkit.distributed.size", lambda: 8)
    parameters, lines = costs_of(recipe).trainable, fit.advice(recipe)
    for stage in (2, 3):
        size = memory(parameters, world=8, precision=recipe.train.precision)[stage].device / 2**30
        assert f"  train.backend.zero_stage = {stage}: {size:.1f} GiB of model state on each" in lines
    assert not any("zero_stage = 1" in line for line in lines), "the recipe has that"


def test_torch_runs_out_of_memory_in_these_words():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58)
    assert out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("CUDA out of memory"), OSError(28, "x")]
)
def test_other_errors_pass(recipe, error):
    with pytest.raises(type(error)), fit.explaining(recipe):
        raise error
