import json

import attrs
import pytest
import torch
from safetensors import safe_open

import dit_toolkit as dit
from dit_toolkit.recipe.load import dumps
from tests.interop.conftest import random_model, store, tiny_recipe


@pytest.mark.parametrize("kind", ["ema", "raw"])
def test_a_run_in_one_file_draws_the_same_images(small_run, place, kind):
    run = dit.load(small_run[1], weights=kind)
    path = dit.export_model(small_run[1], place / "model.safetensors", format="safetensors", weights=kind)
    assert [p.name for p in place.iterdir()] == ["model.safetensors"]
    file = dit.load(path)
    assert (file.step, file.weights) == (4, kind)
    assert file.recipe == attrs.evolve(run.recipe, sample=attrs.evolve(run.recipe.sample, weights=kind))
    assert torch.equal(file.sample([3, 7]), run.sample([3, 7]))
    other = {"ema": "raw", "raw": "ema"}[kind]
    with pytest.raises(dit.CheckpointError, match=f"holds the {kind} weights, not the {other} ones"):
        dit.load(path, weights=other)


def test_the_file_says_what_it_is(small_run, place):
    path = dit.export_model(small_run[1], place / "model.safetensors", format="safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118
    assert metadata["recipe"] == dumps(dit.load(path).recipe)
    assert metadata["weights"] == "ema"
    assert json.loads(metadata["provenance"])["components"]["model.block"]["kind"] == "adaln-zero"


def test_an_exported_file_can_be_exported_again(small_run, place):
    one = dit.export_model(small_run[1], place / "1.safetensors", format="safetensors")
    two = dit.export_model(one, place / "2.safetensors", format="safetensors")
    contents = []
    for path in (one, two):
        with safe_open(path, framework="pt") as file:
            contents.append((file.metadata(), {name: file.get_tensor(name).tolist() for name in file.keys()}))  # noqa: SIM118
    assert contents[0] == contents[1]


def test_files_of_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", {"format": "pt"})
    with pytest.raises(dit.CheckpointError, match=r"has no recipe of dit-toolkit.*dit-toolkit import"):
        dit.load(tmp_path / "x.safetensors")


def test_another_provider_is_a_warning(tmp_path, capsys):
    recipe = tiny_recipe(latents=False)
    block = {"kind": "adaln-zero", "plugin": "x", "distribution": "dit-toolkit-plugin-x", "version": "1.0"}
    provenance = json.dumps({"components": {"model.block": block}})
    dit.load(store(tmp_path / "own.safetensors", recipe, random_model(recipe), provenance=provenance))
    [line] = [line for line in capsys.readouterr().err.splitlines() if "model.block" in line]
    assert line.startswith("warning: model.block 'adaln-zero': own.safetensors was made with dit-toolkit-plugin-x 1.0")


def test_a_stored_recipe_loads_no_plugin_file_unasked(tmp_path):
    recipe = attrs.evolve(tiny_recipe(latents=False), plugins=["mine.py"])
    path = store(tmp_path / "own.safetensors", recipe, random_model(recipe))
    (tmp_path / "mine.py").write_text("raise RuntimeError('ran')")
    path.write_bytes(path.read_bytes().replace(b"adaln-zero", b"adaln-mine"))
    with pytest.raises(dit.RecipeError, match=r"unknown block 'adaln-mine'(.|\n)*allow it with --plugin mine.py"):
        dit.load(path)
