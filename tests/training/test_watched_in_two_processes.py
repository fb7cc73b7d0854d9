"""What `watched.py` finds on two processes, one training for each ZeRO stage with looks and one without."""

import json
import os
import socket
import subprocess
import sys

import pytest

from dit_toolkit import load_recipe
from dit_toolkit.training.drawing import Drawing
from dit_toolkit.training.pictures import Pictures
from tests.conftest import ROOT, SMALL


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **world, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.training.watched", str(folder)],
            env={**environment, "RANK": rank, "LOCAL_RANK": rank},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        told = [process.communicate(timeout=250)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], told
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("stage", ["0", "1", "2", "3"])
def test_the_same_weights_and_averages_with_and_without(found, stage):
    assert found[stage]["differing"] == []


@pytest.mark.parametrize("stage", ["0", "1", "2", "3"])
def test_the_loss_in_training_is_the_loss_of_the_saved_average(found, stage):
    """To the bit: of sharded weights in training, and of the whole ones that the checkpoint has."""
    assert found[stage]["in_training"] == found[stage]["afterwards"]


def test_the_loss_does_not_depend_on_the_number_of_processes(found, folder):
    from dit_toolkit.validation import validate

    recipe = load_recipe(
        ROOT / "recipes/fashion.toml", set=[*SMALL, "train.precision=bf16", "train.validate_images=70"]
    )
    assert validate(recipe, folder / "watched-3").as_dict()["losses"]["ema"]["mean"] == found["3"]["afterwards"]


def test_processes_make_as_many_passes_as_the_one_that_needs_most(found):
    assert found["passes"] == [[3, 3], [1, 3]]


def test_pictures_do_not_depend_on_the_number_of_processes(folder, tmp_path):
    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "sample.sampler.num_steps=2"])
    alone = Pictures(recipe, tmp_path, Drawing(recipe, lambda x, t, y: x / 2, "cpu")).draw(1, "raw")
    assert alone.read_bytes() == (folder / "samples/during" / alone.name).read_bytes()
