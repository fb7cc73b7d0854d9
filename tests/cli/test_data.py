"""From images to training on their latents, on the command line."""

import json
import os
import subprocess
import sys

import pytest

from tests.data import image_tree, save_kl, save_recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    image_tree(root / "images")
    save_kl(root / "vae")
    save_recipe(root)
    return root


def command(root, *words):
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dit_toolkit", *map(str, words)], cwd=root, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_images_are_encoded_and_trained_on(root, invoke):
    recipe = root / "recipe.toml"
    out = command(root, "encode", recipe, "--images", "images", "--out", root / "latents", "--flip")
    assert out == f"{root / 'latents'}\n"
    command(root, "run", recipe, "--out", root / "run")
    first, last = [json.loads(line) for line in (root / "run/metrics.jsonl").read_text().splitlines()]
    assert 0.5 < first["loss"] < 2
    assert last["step"] == 2
    assert (root / "run/samples/step-00000002/samples.npz").exists()


def test_two_processes_write_the_same_bytes(root):
    words = ["encode", root / "recipe.toml", "--images", "images", "--batch-size", "5"]
    for procs in (1, 2):
        command(root, *words, "--out", root / f"by-{procs}", "--procs", procs)
    assert contents(root / "by-1") == contents(root / "by-2")


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("dataset.image_size=32", "image_size: [16, 16] there, [32, 32] in the recipe"),
        ("dataset.channels=3", ""),
        ("autoencoder.path={root}/other", "its latents were made by another autoencoder than the recipe's 'kl'"),
        ("autoencoder.path={root}/scaled", "its latents were made by another autoencoder than the recipe's 'kl'"),
        ("dataset.path={root}/nowhere", "there are no latents in"),
    ],
)
def test_a_recipe_that_does_not_fit_the_latents_is_refused(root, invoke, setting, line, tmp_path):
    if not (root / "other").exists():
        save_kl(root / "other", seed=1)
        save_kl(root / "scaled", scaling_factor=0.25)
    if not (root / "latents").exists():
        assert (
            invoke("encode", root / "recipe.toml", "--images", root / "images", "--out", root / "latents").exit_code
            == 0
        )
    words = ["run", root / "recipe.toml", "--out", tmp_path / "run", "--stage", "train"]
    result = invoke(*words, "--set", setting.format(root=root))
    assert result.exit_code == (2 if line else 0), result.output
    assert line in result.stderr


def test_an_autoencoder_that_is_not_here_is_only_warned_of(root, invoke, tmp_path):
    result = invoke(
        "run", root / "recipe.toml", "--out", tmp_path / "run", "--stage", "train", "--set", "autoencoder.path=a/b"
    )
    assert result.exit_code == 0, result.output
    assert "warning: autoencoder: 'kl' is not on this machine" in result.stderr


def test_another_number_of_classes_is_refused_by_name(root, invoke, tmp_path):
    (tmp_path / "images/train/a").mkdir(parents=True)
    (tmp_path / "images/val").mkdir()
    result = invoke("encode", root / "recipe.toml", "--images", tmp_path / "images", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "has 1 classes (a), not 3" in result.stderr


def test_a_missing_autoencoder_is_an_error_and_never_random_weights(root, invoke, tmp_path):
    words = ["encode", root / "recipe.toml", "--images", root / "images", "--out", tmp_path / "out"]
    result = invoke(*words, "--set", f"autoencoder.path={tmp_path}/gone")
    assert result.exit_code == 2
    assert "autoencoder.path" in result.stderr
    assert not (tmp_path / "out").exists()
    assert "holds latents already; give the images with --images DIR" in invoke(*words[:2], *words[4:]).stderr


def test_prepare_needs_a_source(invoke, tmp_path):
    result = invoke("prepare", "imagenet", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "give --archives DIR, or --from-folder DIR" in result.stderr
    result = invoke("prepare", "imagenet", "--archives", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "ILSVRC2012_img_train.tar: no such file" in result.stderr


def test_prepare_from_a_folder(root, invoke, tmp_path):
    result = invoke("prepare", "imagenet", "--from-folder", root / "images", "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'out'}\n"), result.output
    assert (tmp_path / "out/train/a/000.jpg").is_file()
