"""All costs of a recipe, and recipes at other sizes."""

import json

import pytest
from attrs import evolve, frozen

from dit_toolkit import RecipeError, load_recipe
from dit_toolkit.components import Dataset
from dit_toolkit.errors import DitToolkitError
from dit_toolkit.flops import activations, costs_of, macs, resized
from dit_toolkit.recipe.sizes import sizes
from tests.conftest import ROOT


def recipe(name="s8", *changes):
    return load_recipe(ROOT / f"recipes/{name}.toml", set=changes)


def test_the_parts_stand_beside_their_sum():
    found = recipe("s2")
    costs = costs_of(found)
    assert (costs.parameters, costs.parameters - costs.trainable) == (32_963_360, 256 * 384)
    assert costs.macs == macs(found)
    assert costs.forward == sum(costs.macs.values())
    assert costs.training == 3 * costs.forward
    assert costs.activations == activations(found)
    assert costs.paper == 6.06
    assert costs.sizes == sizes(found)


def test_as_dict_is_json():
    costs = costs_of(recipe())
    found = json.loads(json.dumps(costs.as_dict()))
    assert found["macs"] == {**costs.macs, "forward": costs.forward, "training": costs.training}
    assert found["flops"] == {part: 2 * count for part, count in found["macs"].items()}
    assert (found["image"], found["latent"], found["grid"], found["tokens"]) == ([3, 256, 256], [4, 32, 32], [4, 4], 16)
    assert (found["activations"], found["paper_gmacs"]) == (costs.activations, 0.36)


def test_activations_that_cannot_be_counted_hide_nothing_else():
    costs = costs_of(recipe("s8", "model.block.attention='flex'", "model.block.attention_dropout=0.1"))
    assert isinstance(costs.activations, DitToolkitError)
    assert (costs.forward, costs.as_dict()["activations"]) == (costs_of(recipe()).forward, None)


@pytest.mark.parametrize("size", [512, (256, 512)])
def test_another_image_size_goes_through_the_autoencoder(size):
    found = sizes(resized(recipe("s2"), image_size=size))
    height, width = (size, size) if isinstance(size, int) else size
    assert (found.image, found.latent) == ((3, height, width), (4, height // 8, width // 8))
    assert found.tokens == height * width // 256


@pytest.mark.parametrize(("patch", "toml"), [(4, "4"), ((4, 2), "[4, 2]")])
def test_another_patch_is_what_set_makes(patch, toml):
    assert resized(recipe("s2"), patch_size=patch) == recipe("s2", f"model.patchifier.patch_size={toml}")


def test_nothing_given_is_the_same():
    assert resized(recipe()) == recipe()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fashion", {"image_size": 64}, r"dataset.image_size: image_size \(64\) must be 28"),
        ("fashion", {"image_size": (28, 32)}, r"dataset.image_size: image_size \(\(28, 32\)\) must be 28"),
        ("s2", {"image_size": 0}, r"dataset.image_size: .*1.*: 0"),
        ("s2", {"patch_size": (2, 2000)}, r"model.patchifier.patch_size: 'patch_size' must be 1 to 1024: \(2, 2000\)"),
    ],
)
def test_a_refused_size(name, change, message):
    with pytest.raises(RecipeError, match=message):
        resized(recipe(name), **change)


@frozen(kw_only=True)
class Fixed(Dataset):
    kind = "fixed"
    shape = (1, 28, 28)
    class_names = ("one",)

    def open(self, split):
        raise NotImplementedError


def test_a_dataset_of_one_size():
    with pytest.raises(RecipeError, match=r"dataset.kind: 'fixed' has no option image_size, so its size cannot be"):
        resized(evolve(recipe(), dataset=Fixed()), image_size=64)


def test_a_patch_that_does_not_divide():
    message = r"model.patchifier.patch_size: patch_size \(8\) does not divide the height of the model's input \(36\)"
    with pytest.raises(RecipeError, match=message):
        costs_of(resized(recipe("s2"), image_size=288, patch_size=8))
