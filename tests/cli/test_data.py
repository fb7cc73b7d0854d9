"""From images to training on their latents, on the command line."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from dit_toolkit.autoencoders.kl import KL
from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.encoding import Options, encode
from tests.caches import cerebras
from tests.data import image_tree, save_kl, save_recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    image_tree(root / "images")
    save_kl(root / "vae")
    save_recipe(root)
    return root


@pytest.fixture(scope="module")
def stored(root):
    """A store whose latents are in blocks of more than one batch."""
    encode(
        ImageFolder(path=str(root / "images"), image_size=16, num_classes=3),
        KL(path=str(root / "vae"), downsampling=2),
        root / "stored",
        Options(batch_size=5),
    )
    return root / "stored"


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
    result = invoke("encode", recipe, "--images", root / "images", "--out", root / "latents", "--flip")
    assert (result.exit_code, result.stdout) == (0, f"{root / 'latents'}\n"), result.output
    assert invoke("run", recipe, "--out", root / "run").exit_code == 0
    first, last = [json.loads(line) for line in (root / "run/metrics.jsonl").read_text().splitlines()]
    assert 0.5 < first["loss"] < 2
    assert last["step"] == 2
    for folder in (root / "run", root / "run/checkpoints/step-00000002"):
        assert json.loads((folder / "classes.json").read_text()) == ["a", "b", "c"]
    assert (root / "run/samples/step-00000002/samples.npz").exists()


def test_where_latents_are_held_changes_nothing_and_may_change(root, stored, invoke, tmp_path):
    words = ["run", root / "recipe.toml", "--stage", "train", "--set", f"dataset.path={stored}"]
    assert invoke(*words, "--out", tmp_path / "mapped").exit_code == 0
    for steps, memory in ((1, "ram"), (2, "device")):
        changes = ("--set", f"dataset.memory={memory}", "--set", f"train.max_steps={steps}")
        result = invoke(*words, "--out", tmp_path / "held", *changes)
        assert result.exit_code == 0, result.output
        assert "of latents into RAM" in result.stderr
    mapped, held = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("mapped", "held")
    )
    assert [line["loss"] for line in held] == [line["loss"] for line in mapped]
    assert all(0 <= line["data_wait"] <= 1 for line in mapped)


def test_training_from_the_files_of_another_program(root, invoke, tmp_path):
    cerebras(tmp_path / "cache")
    (tmp_path / "data.toml").write_text(
        f'extends = "{root}/recipe.toml"\n[dataset]\nkind = "latent-files"\nformat = "cerebras"\nnum_classes = 3\n'
        f'image_size = [8, 12]\npath = "{tmp_path}/cache"\n[model.patchifier]\npatch_size = 2\n'
    )
    words = ["run", tmp_path / "data.toml", "--stage", "train", "--out"]
    refused = invoke(*words, tmp_path / "refused")
    assert refused.exit_code == 2
    assert "a model sees its latents z as z * 0.18215, but the recipe's 'kl' scales as z * 0.5" in refused.stderr
    words += [tmp_path / "run", "--set", "dataset.scaling_factor=0.5"]
    assert invoke(*words).exit_code == 0
    for file in (tmp_path / "cache/train").rglob("*.npz"):
        file.write_bytes(b"")
    result = invoke(*words, "--set", "train.max_steps=3")
    assert result.exit_code == 2
    assert ".npz: cannot be read as an .npz file" in result.stderr


def test_a_store_whose_autoencoder_is_not_known_is_refused_by_its_scaling(root, invoke, tmp_path):
    cerebras(tmp_path / "cache")
    for factor, code in ((0.18215, 2), (0.5, 0)):
        store = tmp_path / str(factor)
        options = ("--scaling-factor", factor, "--image-size", "8x12")
        assert invoke("import", "latents", "cerebras", tmp_path / "cache", store, *options).exit_code == 0
        changes = [f"dataset.path={store}", "dataset.image_size=[8,12]", "model.patchifier.patch_size=2"]
        words = [word for change in changes for word in ("--set", change)]
        result = invoke("run", root / "recipe.toml", "--stage", "train", "--out", tmp_path / f"run-{factor}", *words)
        assert result.exit_code == code, result.output
        assert ("scales as z * 0.5, so that samples would be decoded wrongly" in result.stderr) == (code == 2)


def test_two_processes_write_the_same_bytes(root, invoke):
    words = ["encode", root / "recipe.toml", "--images", root / "images", "--batch-size", "5"]
    assert invoke(*words, "--out", root / "by-1", "--procs", 1).exit_code == 0
    command(root, *words, "--out", root / "by-2", "--procs", 2)
    assert contents(root / "by-1") == contents(root / "by-2")


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("dataset.image_size=32", "image_size: [16, 16] there, [32, 32] in the recipe"),
        ("dataset.channels=3", ""),
        ("autoencoder.path={root}/other", "its latents were made by another autoencoder than the recipe's 'kl'"),
        ("autoencoder.path={root}/scaled", "its latents were made by another autoencoder than the recipe's 'kl'"),
        (
            'autoencoder={{kind="identity"}}',
            "its latents were made by another autoencoder than the recipe's 'identity'",
        ),
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


def test_a_store_is_verified(stored, invoke):
    result = invoke("verify", stored)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{stored / 'train.safetensors'}: 18 rows of train, sound",
        f"{stored / 'val.safetensors'}: 6 rows of val, sound",
    ]


@pytest.mark.parametrize("offset", [-1, -3000, -9000])
def test_a_flipped_bit_is_found(stored, invoke, tmp_path, offset):
    copy = tmp_path / "copy"
    shutil.copytree(stored, copy)
    data = bytearray((copy / "train.safetensors").read_bytes())
    data[offset] ^= 1
    (copy / "train.safetensors").write_bytes(data)
    result = invoke("verify", copy)
    assert result.exit_code == 2
    assert "train.safetensors: rows 0 to 17 have changed since they were written" in result.stderr
    (copy / "val.safetensors").unlink()
    assert "val.safetensors: cannot be read" in invoke("verify", copy).stderr


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_folder_without_a_manifest_holds_no_latents(invoke, tmp_path, command):
    result = invoke(command, tmp_path)
    assert (result.exit_code, result.stderr) == (
        2,
        f"error: {tmp_path}: holds no latents (manifest.json is not there)\n",
    )


def test_a_manifest_without_its_checksums_is_no_proof(stored, invoke, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(stored, copy)
    table = json.loads((copy / "manifest.json").read_text())
    table["splits"]["train"]["blocks_sha256"] = []
    (copy / "manifest.json").write_text(json.dumps(table))
    assert "the manifest has 0 checksums for 1 blocks" in invoke("verify", copy).stderr


def test_what_a_store_holds(stored, invoke, tmp_path):
    result = invoke("inspect", stored, "--json", "--out", tmp_path / "x.png", "--count", 5)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["splits"]["train"]["latents"] == 18
    assert found["splits"]["val"]["per_class"] == {"least": 2, "most": 2, "empty": 0}
    assert len(found["splits"]["train"]["channels"]) == 4
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.height > 5 * 90
    text = invoke("inspect", stored).stdout
    assert "3 x 16 x 16, 3 classes" in text
    assert "18, 6 to 6 of a class, 0 left out" in text
    assert "exists already" in invoke("inspect", stored, "--out", tmp_path / "x.png").stderr


def test_a_picture_without_the_images_or_the_autoencoder(stored, invoke, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(stored, copy)
    manifest = copy / "manifest.json"
    table = json.loads(manifest.read_text())
    table["source"]["path"] = str(tmp_path / "gone")
    manifest.write_text(json.dumps(table))
    result = invoke("inspect", copy, "--out", tmp_path / "x.png")
    assert result.exit_code == 0, result.output
    assert "warning: the images cannot be shown: dataset.path: there is no folder" in result.stderr
    table["autoencoder"]["path"] = str(tmp_path / "gone")
    manifest.write_text(json.dumps(table))
    result = invoke("inspect", copy, "--out", tmp_path / "y.png")
    assert result.exit_code == 2
    assert "autoencoder.path" in result.stderr
    assert not (tmp_path / "y.png").exists()


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
