"""Bytes of model state (Rajbhandari et al. 2020, arXiv 1910.02054)."""

import pytest
import torch

from dit_toolkit import build_model, load_recipe
from dit_toolkit.flops import costs_of, memory, state_options
from dit_toolkit.optimizers import build_optimizer, parameter_groups
from dit_toolkit.recipe.schema import Optimizer
from tests.conftest import ROOT, SMALL


@pytest.mark.parametrize(
    ("precision", "stages"),
    [
        ("bf16", {0: 2000, 1: 800, 2: 650, 3: 500}),
        ("fp16", {0: 2000, 1: 800, 2: 650, 3: 500}),
        ("fp32", {0: 2000, 1: 1200, 2: 900, 3: 600}),
    ],
)
def test_memory_on_four_processes(precision, stages):
    assert memory(100, world=4, precision=precision) == {stage: (value, 0) for stage, value in stages.items()}


def test_stages_differ_only_with_more_than_one_process():
    assert len(set(memory(1000, world=1, precision="bf16").values())) == 1


def test_the_example_of_the_zero_paper():
    """Figure 1: 7.5 billion parameters on 64 processes, without a moving average: 120, 31.4, 16.6 and 1.9 GB."""
    average = 4 * 7.5
    found = [state.device / 1e9 for state in memory(7_500_000_000, world=64, precision="bf16").values()]
    without = [found[0] - average, *(value - average / 64 for value in found[1:])]
    assert [round(value, 1) for value in without] == [120.0, 31.4, 16.6, 1.9]


def test_every_average_and_every_byte_of_the_optimizer_counts():
    """2 + 2 of bf16, 4 of master weights; 4 an average; 4 or 8 of one moment or two."""
    for averages, moments in ((0, 800), (1, 800), (3, 400)):
        found = memory(100, world=4, precision="bf16", averages=averages, moments=moments)
        state = 400 + 400 * averages + moments
        assert [found[stage].device for stage in range(4)] == [
            400 + state,
            400 + state // 4,
            200 + 50 + state // 4,
            100 + state // 4,
        ]


def test_offloaded_state_moves_to_the_cpu():
    """16 bytes of state and 4 of gradient a parameter, a fourth of them on each of 4 processes."""
    assert memory(100, world=4, precision="bf16", offload="optimizer") == {1: (400, 500), 2: (200, 500), 3: (50, 500)}
    assert memory(100, world=4, precision="bf16", offload="all") == {3: (0, 550)}


def test_a_recipe_says_what_its_state_depends_on():
    changes = ["train.optimizer.kind=muon", "train.backend={kind='single'}", "train.ema_more=[0.99, 0.9]"]
    recipe = load_recipe(ROOT / "recipes/s8.toml", set=["model.depth=2", *changes])
    costs = costs_of(recipe)
    options = state_options(recipe, costs)
    muon = 2 * (12 + 6) * 384**2  # qkv 3, projection 1, MLP 8, modulation 6, of two blocks
    assert options["moments"] == 8 * costs.trainable - 4 * muon
    assert (options["averages"], options["precision"], options["offload"]) == (3, "bf16", "none")
    away = load_recipe(ROOT / "recipes/s8.toml", set=["model.depth=2", "train.backend.offload=optimizer"])
    assert state_options(away, costs_of(away))["offload"] == "optimizer"


def test_the_state_of_a_real_optimizer_is_what_is_counted():
    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=SMALL)
    for kind in ("adamw", "adam", "muon"):
        model = build_model(recipe)
        settings = Optimizer(kind=kind)
        optimizer = build_optimizer(model, settings)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        held = sum(t.nbytes for s in optimizer.state.values() for name, t in s.items() if name != "step")
        assert held == sum(group.moments for group in parameter_groups(model, settings)), kind
