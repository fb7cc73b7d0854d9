"""`grid`: what its options mean and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dit_toolkit.grids.sheet import grid
from dit_toolkit.images import NpzWriter

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
LABELS = np.array([2, 0, 2, 1, 0, 2])
NAMES = ["tench", "goldfish", "shark"]
STEPS = ("--set", "sampler.num_steps=2", "--labels", "Bag,7", "--nrow", "2")


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "samples.npz"
    with NpzWriter(path, 6, (16, 16, 3)) as writer:
        writer.write(IMAGES)
    path.with_suffix(".json").write_text(json.dumps({"labels": LABELS.tolist(), "class_names": NAMES}))
    return path


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_rows_are_classes(invoke, samples, tmp_path):
    out = tmp_path / "grid.png"
    result = invoke("grid", samples, "--out", out, "--nrow", "2", "--image-size", "40")
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    np.testing.assert_array_equal(pixels(out), np.asarray(grid(IMAGES, LABELS, NAMES, 2, image_size=40)))
    assert "exists already" in invoke("grid", samples, "--out", out).stderr


def test_labels_choose_rows(invoke, samples, tmp_path):
    words = ["--labels", "Shark,0", "--per-class", "1"]
    assert invoke("grid", samples, "--out", tmp_path / "grid.png", *words).exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "grid.png"), np.asarray(grid(IMAGES[:2], LABELS[:2], NAMES)))


def test_folders(invoke, tmp_path):
    for name, index in (("a", [0, 1]), ("b", [2])):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for i in index:
            Image.fromarray(IMAGES[i]).save(tmp_path / "classes" / name / f"{i}.png")
    assert invoke("grid", tmp_path / "classes", "--out", tmp_path / "c.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "c.png"), np.asarray(grid(IMAGES[:3], [0, 0, 1], ["a", "b"])))
    assert invoke("grid", tmp_path / "classes/a", "--out", tmp_path / "a.png", "--nrow", "1").exit_code == 0
    expected = grid(IMAGES[:2], [0, 0], [""], 1, per_class=2)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.asarray(expected))
    (tmp_path / "classes/b/2.png").unlink()
    Image.fromarray(IMAGES[3][:8]).save(tmp_path / "classes/b/2.png")
    result = invoke("grid", tmp_path / "classes", "--out", tmp_path / "d.png")
    assert (result.exit_code, "b: 16 x 8 pixels, but a has 16 x 16" in result.stderr) == (2, True), result.stderr
    (tmp_path / "empty").mkdir()
    assert "holds no .png or .jpg file" in invoke("grid", tmp_path / "empty", "--out", tmp_path / "d.png").stderr


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({"labels": [1]}, "6 images, but 1 labels"),
        ({"labels": []}, "6 images, but 0 labels"),
        ({"labels": LABELS.tolist(), "class_names": ["a"]}, "1 class_names, but a label 2"),
        ({"labels": [-1] * 6}, "`labels` must be a list of class numbers"),
    ],
)
def test_labels_that_do_not_fit(invoke, samples, tmp_path, sidecar, message):
    samples.with_suffix(".json").write_text(json.dumps(sidecar))
    result = invoke("grid", samples, "--out", tmp_path / "grid.png")
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x.jpg"], "the name must end in .png, or in .gif for a moving picture"),
        (["--out", "nowhere/x.png"], "there is no folder"),
        (["--labels", "whale"], "there is no class 'whale'"),
        (["--frames", "3"], "does not move; add --animate, or write a .gif"),
        (["--animate"], "its images are drawn already; --animate needs a run, a checkpoint or a file of weights"),
        (["--out", "x.gif"], "its images are drawn already; --animate needs"),
        (["--interpolate", "0,1"], "--interpolate needs a run"),
        (["--vary", "cfg_scale=1,2"], "--vary needs a run"),
        (["--seed", "0"], "--seed needs a run"),
        (["--set", "cfg_scale=2"], "--set needs a run"),
        (["--interpolate", "0,1", "--labels", "1"], "without --vary and --labels"),
        (["samples.npz"], "a picture of several paths needs a run"),
    ],
)
def test_what_images_cannot_show(invoke, samples, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = invoke("grid", samples, "--out", "grid.png", *words)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_images_whose_classes_are_not_known_have_none_to_choose(invoke, samples, tmp_path):
    samples.with_suffix(".json").unlink()
    result = invoke("grid", samples, "--out", tmp_path / "x.png", "--labels", "1")
    assert (result.exit_code, "the classes of the images in" in result.stderr) == (2, True)


def test_a_run_draws_what_sample_draws(invoke, small_run, tmp_path):
    _, run = small_run
    assert invoke("grid", run, "--out", tmp_path / "a.png", *STEPS, "--seed", "3").exit_code == 0
    words = ["--num-samples", "4", "--seed", "3", *STEPS[:4]]
    assert invoke("sample", run, "--out", tmp_path / "s.npz", *words).exit_code == 0
    assert invoke("grid", tmp_path / "s.npz", "--out", tmp_path / "b.png", "--nrow", "2").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_a_moving_picture_ends_with_the_still_one(invoke, small_run, tmp_path, name):
    _, run = small_run
    result = invoke("grid", run, "--out", tmp_path / name, "--animate", "--frames", "3", *STEPS)
    assert result.exit_code == 0, result.output
    assert invoke("grid", run, "--out", tmp_path / "still.png", *STEPS).exit_code == 0
    with Image.open(tmp_path / name) as film:
        film.seek(film.n_frames - 1)
        np.testing.assert_array_equal(np.asarray(film.convert("RGB")), pixels(tmp_path / "still.png"))


def test_interpolation_and_sides(invoke, small_run, tmp_path):
    _, run = small_run
    words = ["--interpolate", "Dress,9", "--nrow", "3", "--per-class", "1", *STEPS[:2]]
    assert invoke("grid", run, "--out", tmp_path / "a.png", *words).exit_code == 0
    assert pixels(tmp_path / "a.png").shape[1] == 2 * 12 + 3 * 98 - 2
    assert invoke("grid", run, run, "--out", tmp_path / "b.png", "--vary", "cfg_scale=1,2", *STEPS).exit_code == 0
    for words, message in (
        ([run, "--interpolate", "1,2"], "shows one model"),
        (["--vary", "cfg_scal=1,2"], "did you mean 'cfg_scale'?"),
        (["--interpolate", "Dress,Hat"], "there is no class 'Hat'"),
    ):
        result = invoke("grid", run, *words, "--out", tmp_path / "c.png")
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
