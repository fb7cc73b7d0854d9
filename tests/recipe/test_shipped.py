"""Every recipe in recipes/ is what its first lines say."""

import re
from pathlib import Path

import pytest
import torch

from dit_toolkit.build import build_model
from dit_toolkit.flops import macs
from dit_toolkit.nn.dit import count_parameters
from dit_toolkit.recipe.load import load_any_recipe, load_recipe
from dit_toolkit.recipe.schema import Optimizer, Recipe
from dit_toolkit.recipe.sizes import sizes

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))
COST = re.compile(
    r"# (?:([\d,]+) tokens, )?([\d,]+) parameters, ([\d.]+) GMACs \(([\d.]+) GFLOPs\) per image and forward pass\."
)

WHOLE = {"fashion", "vae-fashion"}
"""Those that extend no other."""

# Parameters and GMACs of every size and variant: FACTS of the field (Peebles & Xie 2023, tables 1 and 4) by formula.
KNOWN = {
    "s8": (33_148_160, 0.36),
    "s4": (32_945_024, 1.41),
    "s2": (32_963_360, 6.06),
    "b8": (130_881_536, 1.42),
    "b4": (130_475_648, 5.57),
    "b2": (130_512_416, 23.01),
    "l8": (458_594_816, 5.01),
    "l4": (458_053_760, 19.70),
    "l2": (458_102_816, 80.70),
    "xl8": (675_683_072, 7.39),
    "xl4": (675_074_432, 29.04),
    "xl2": (675_129_632, 118.62),
    "xl2-512": (676_014_368, 524.54),
    "xl2-adaln": (600_747_296, 118.55),
    "xl2-in-context": (449_457_440, 119.35),
    "xl2-cross-attention": (598_286_624, 137.60),
    "2b2": (2_281_635_872, 395.39),
}
TRAINABLE = {"cerebras-l2": 457_824_260, "cerebras-xl2": 674_816_260, "cerebras-2b2": 2_281_078_788}


def cost(path):
    recipe = load_any_recipe(path)
    with torch.device("meta"):
        model = build_model(recipe)
    tokens = sizes(recipe).tokens if isinstance(recipe, Recipe) else None
    return recipe, model, tokens, count_parameters(model), sum(macs(recipe).values()) / 1e9


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_second_line_says_what_it_costs(path):
    _, _, tokens, parameters, gmacs = cost(path)
    line = path.read_text().splitlines()[1]
    found = COST.fullmatch(line)
    assert found, line
    digits = len(found[3].partition(".")[2])
    said = [found[1], found[2], found[3], found[4]]
    assert said == [tokens and f"{tokens:,}", f"{parameters:,}", f"{gmacs:.{digits}f}", f"{2 * gmacs:.{digits}f}"]


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_and_variants_are_the_papers(name):
    _, _, tokens, parameters, gmacs = cost(FOLDER / f"{name}.toml")
    assert (parameters, round(gmacs, 2)) == KNOWN[name]
    side = 64 if name == "xl2-512" else 32
    assert tokens == (side // int(re.search(r"\d$", name.split("-")[0])[0])) ** 2


@pytest.mark.parametrize("name", TRAINABLE)
def test_the_modelzoo_recipes_have_its_parameters_and_settings(name):
    recipe, model, *_ = cost(FOLDER / f"{name}.toml")
    assert sum(p.numel() for p in model.parameters()) == TRAINABLE[name]
    train = recipe.train
    assert (train.lr, train.optimizer, train.gradient_clipping, train.lr_warmup_steps) == (1e-4, Optimizer(), 0, 0)
    assert (train.global_batch_size, train.max_steps) == {
        "cerebras-l2": (256, 400_000),
        "cerebras-xl2": (990, 102_435),
        "cerebras-2b2": (1168, 206_869),
    }[name]
    assert (recipe.sample.sampler.num_steps, recipe.sample.sampler.variance) == (250, "fixed-small")
    assert (recipe.model.block.gelu, recipe.sample.cfg_scale, recipe.sample.cfg_channels) == ("exact", 1.0, 3)


def test_the_papers_training_settings():
    recipe = load_recipe(FOLDER / "xl2.toml")
    train = recipe.train
    assert (train.lr, train.optimizer, train.gradient_clipping, train.lr_warmup_steps) == (1e-4, Optimizer(), 0, 0)
    assert (train.global_batch_size, train.ema_decay, train.lr_schedule) == (256, 0.9999, "constant")
    assert recipe.objective.learn_sigma
    assert recipe.model.class_dropout_prob == 0.1


def test_few_lines_each():
    long = {path.stem: len(path.read_text().splitlines()) for path in RECIPES if path.stem not in WHOLE}
    assert max(long.values()) <= 24, long


def test_every_size_of_the_paper_is_there():
    sizes_at_patches = {f"{size}{patch}" for size in ("s", "b", "l", "xl") for patch in (2, 4, 8)}
    assert sizes_at_patches <= {path.stem for path in RECIPES}
