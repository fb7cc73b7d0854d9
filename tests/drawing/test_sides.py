"""Names and settings of what is shown side by side."""

import pytest
import torch

import dit_toolkit as dit
from dit_toolkit import checkpoint
from dit_toolkit.drawing.sides import load_sides


@pytest.fixture
def run(small_run):
    return small_run[1]


def names(sides):
    return [name for name, _ in sides]


def test_a_name_says_what_differs(run, tmp_path):
    older, newer = checkpoint.checkpoints(run / "checkpoints")
    link = tmp_path / "other"
    link.symlink_to(run)
    assert names(load_sides([run])) == ["small"]
    assert names(load_sides([run, run])) == ["small", "small"]
    assert names(load_sides([older, newer])) == ["step 2", "step 4"]
    assert names(load_sides([run], vary="weights=raw,ema")) == ["raw", "ema"]
    assert names(load_sides([older, newer], vary="cfg_scale=1,2.5")) == [
        "step 2, cfg_scale 1",
        "step 2, cfg_scale 2.5",
        "step 4, cfg_scale 1",
        "step 4, cfg_scale 2.5",
    ]


def test_values_are_toml_and_brackets_keep_their_commas(run):
    varied = load_sides([run], vary='sampler={kind="euler", num_steps=5},{kind="heun", num_steps=3}')
    assert [(t.recipe.sample.sampler.kind, t.recipe.sample.sampler.num_steps) for _, t in varied] == [
        ("euler", 5),
        ("heun", 3),
    ]
    intervals = load_sides([run], vary="cfg_interval=[0.0,1.0],[0.2,0.6]", set=["sample.cfg_scale=2"])
    assert [t.recipe.sample.cfg_interval for _, t in intervals] == [(0.0, 1.0), (0.2, 0.6)]
    kinds = load_sides([run], vary="sample.sampler.kind=euler,ddim", set=["sample.seed=5"])
    assert [(t.recipe.sample.sampler.kind, t.recipe.sample.seed) for _, t in kinds] == [("euler", 5), ("ddim", 5)]


def test_weights_are_loaded_for_each(run):
    (_, raw), (_, ema) = load_sides([run], vary="weights=raw,ema")
    assert (raw.weights, ema.weights) == ("raw", "ema")
    assert not torch.equal(raw.model.head.linear.weight, ema.model.head.linear.weight)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("cfg_scal=1,2", r"sample: unknown key 'cfg_scal'; did you mean 'cfg_scale'\?"),
        ("cfg_scale=-1,2", r"sample.cfg_scale: .*>= 0"),
        ("sampler.kind=helm", "helm"),
        ("cfg_scale", r"--vary 'cfg_scale': expected OPTION=VALUES, such as cfg_scale=1,2,4"),
        ("cfg_scale=1,,2", "expected OPTION=VALUES"),
        ("=1", "expected OPTION=VALUES"),
        ("labels=[1],[2]", r"no image depends on labels"),
        ("num_samples=1,2", r"no image depends on num_samples"),
        ("label_sampling=random,balanced", r"no image depends on label_sampling"),
    ],
)
def test_what_cannot_be_varied(run, vary, message):
    with pytest.raises(dit.RecipeError, match=message):
        load_sides([run], vary=vary)


def test_weights_that_there_are_not(run):
    with pytest.raises(dit.CheckpointError, match=r"has no weights 'ema-0\.7'"):
        load_sides([run], vary="weights=ema,ema-0.7")
