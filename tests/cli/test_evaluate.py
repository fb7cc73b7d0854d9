"""Samples against a recipe's held-out images, or a reference file, from the command line."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from dit_toolkit.datasets.fashion import Fashion
from dit_toolkit.evaluation import real_images
from tests.conftest import ROOT

RECIPE = ROOT / "recipes/fashion.toml"
FD = '{kind="frechet-distance",extractor={kind="fashion"}}'


@pytest.fixture(scope="module")
def images():
    """Sixty training images with their labels."""
    train = real_images(Fashion()).train
    chosen = np.arange(60)
    return train.images[chosen], train.labels[chosen]


@pytest.fixture
def samples(tmp_path, images):
    path = tmp_path / "samples.npz"
    np.savez(path, arr_0=images[0])
    facts = {"labels": images[1].tolist(), "weights": "raw", "step": 12, "class_names": list(Fashion().class_names)}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    from click.testing import CliRunner

    from dit_toolkit.cli import cli

    path = tmp_path_factory.mktemp("reference") / "ref.npz"
    words = ["reference", str(RECIPE), "--out", str(path), "--features", "--num-images", "200"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    return path


def test_against_a_recipe(invoke, samples):
    result = invoke("evaluate", samples, "--recipe", RECIPE, "--json")
    found = json.loads(result.stdout)
    assert found["scores"].keys() == {"class-accuracy", "fd-fashion", "memorisation"}
    assert found["scores"]["memorisation"]["value"] == 0
    assert (found["settings"]["weights"], found["settings"]["step"]) == ("raw", 12)
    assert any("not averaged" in line for line in found["warnings"])


def test_against_a_reference_alone(invoke, samples, reference, tmp_path):
    out = tmp_path / "found.json"
    result = invoke("evaluate", samples, "--reference", reference, "--out", out)
    assert "fd-fashion" in result.stdout
    assert "step 12, raw weights, against 200 " in " ".join(result.stdout.split())
    found = json.loads(out.read_text())
    assert list(found["scores"]) == ["fd-fashion"]
    assert found["scores"]["fd-fashion"]["floor_split"] == "halves"
    assert found["settings"]["reference"]["classes"] == [20] * 10


def test_metrics_by_name(invoke, samples, reference):
    listed = f'{FD},{{kind="recall",extractor={{kind="fashion"}}}},class-accuracy'
    result = invoke("evaluate", samples, "--reference", reference, "--metrics", listed, "--json")
    assert list(json.loads(result.stdout)["scores"]) == ["fd-fashion", "recall-fashion", "class-accuracy"]


def test_a_folder_of_images_without_labels(invoke, images, reference, tmp_path):
    (tmp_path / "folder").mkdir()
    for number, pixels in enumerate(images[0]):
        Image.fromarray(pixels).save(tmp_path / f"folder/{number:03d}.png")
    result = invoke("evaluate", tmp_path / "folder", "--reference", reference, "--json")
    found = json.loads(result.stdout)
    assert found["settings"]["num_samples"] == 60
    assert "classes" not in found["settings"]
    result = invoke("evaluate", tmp_path / "folder", "--reference", reference, "--metrics", "class-accuracy")
    assert "the classes are not known" in result.stderr
    Image.fromarray(images[0][0][:20]).save(tmp_path / "folder/odd.png")
    result = invoke("evaluate", tmp_path / "folder", "--reference", reference)
    assert "all must have one size; 000.png has 32 x 32 pixels, but odd.png 32 x 20" in result.stderr


def test_metrics_that_need_no_classes_take_a_folder_without_labels(invoke, images, tmp_path):
    (tmp_path / "folder").mkdir()
    for number, pixels in enumerate(images[0]):
        Image.fromarray(pixels).save(tmp_path / f"folder/{number:03d}.png")
    result = invoke("evaluate", tmp_path / "folder", "--recipe", RECIPE, "--metrics", f"{FD},memorisation", "--json")
    found = json.loads(result.stdout)
    assert found["scores"]["memorisation"]["value"] == 0
    assert found["scores"]["fd-fashion"]["floor_count"] == 60
    assert "the classes are not known" in invoke("evaluate", tmp_path / "folder", "--recipe", RECIPE).stderr


def test_what_is_told_beside_samples_may_leave_the_labels_out(invoke, samples, reference):
    samples.with_suffix(".json").write_text('{"step": 7}')
    found = json.loads(invoke("evaluate", samples, "--reference", reference, "--json").stdout)
    assert found["settings"]["step"] == 7
    assert "classes" not in found["settings"]


def test_a_run_is_told_where_its_samples_are(invoke, tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    result = invoke("evaluate", tmp_path / "run", "--recipe", RECIPE)
    assert result.exit_code == 2
    assert f"run: is a run; give samples.npz of a folder in {tmp_path}/run/samples, or draw them by" in result.stderr
    assert f"dit-toolkit sample {tmp_path}/run --out samples.npz" in result.stderr


def test_the_reference_is_named_by_its_hash(invoke, samples, reference):
    found = json.loads(invoke("evaluate", samples, "--reference", reference, "--json").stdout)
    assert found["settings"]["reference"]["sha256"] == hashlib.sha256(reference.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --reference FILE.npz or --recipe RECIPE"),
        (["--reference", "REF", "--set", "evaluate.metrics=[]"], "--set changes a recipe; give --recipe"),
        (["--reference", "REF", "--metrics", "fdi"], "--metrics fdi: "),
        (["--reference", "REF", "--metrics", "fid:3"], "--metrics fid:3: expected KIND or a TOML table"),
        (["--reference", "REF", "--metrics", "memorisation"], "memorisation: needs the training images"),
        (["--recipe", str(RECIPE), "--set", "dataset.image_size=28"], "uint8 (60, 32, 32, 3)"),
        (["--reference", "REF", "--metrics", f"{FD},{FD}"], "two metrics are called fd-fashion"),
        (["--reference", "SAMPLES.json"], "cannot be read as an .npz file (it is no zip file, or cut off)"),
    ],
)
def test_faults_are_told(invoke, samples, reference, words, message):
    places = {"REF": str(reference), "SAMPLES.json": str(samples.with_suffix(".json"))}
    result = invoke("evaluate", samples, *(places.get(word, word) for word in words))
    assert result.exit_code == 2, result.output
    assert message in result.stderr


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        (None, "the classes are not known; a .json file beside the images has `labels`"),
        ("{", "samples.json: cannot be read"),
        ("[]", "samples.json: must hold a table of what is known of samples.npz; it holds 0 values []"),
        ('{"labels": 3}', "`labels` must be a list of class numbers; got int 3"),
        ('{"labels": [1, -1]}', "`labels` must be a list of class numbers"),
        ('{"cfg_scale": "4"}', "samples.json: `cfg_scale` must be a number; got str '4'"),
        ('{"sampler": "ddim"}', "samples.json: `sampler` must be a table with a kind; got str 'ddim'"),
        ('{"step": 1.5}', "samples.json: `step` must be a whole number; got float 1.5"),
        ('{"weights": 1}', "samples.json: `weights` must be a string; got int 1"),
        ('{"labels": [1]}', "60 images, but 1 labels in samples.json"),
    ],
)
def test_labels_that_cannot_be_read(invoke, samples, sidecar, message):
    path = samples.with_suffix(".json")
    path.write_text(sidecar) if sidecar else path.unlink()
    result = invoke("evaluate", samples, "--recipe", RECIPE)
    assert result.exit_code == 2
    assert message in result.stderr


def test_reference_faults(invoke, tmp_path):
    out = tmp_path / "ref.npz"
    assert "must end in .npz" in invoke("reference", RECIPE, "--out", tmp_path / "ref.txt").stderr
    result = invoke("reference", RECIPE, "--out", out, "--set", "evaluate.metrics=[]")
    assert "none has an extractor; name one with --extractors" in result.stderr
    out.touch()
    assert "exists already" in invoke("reference", RECIPE, "--out", out).stderr


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one", "two"], "class_names must be a list that has a name for every label"),
        ("names", "`class_names` must be a list of the names of all classes; got str 'names'"),
        ([1, 2], "`class_names` must be a list of the names of all classes; got 2 values [1, 2]"),
    ],
)
def test_every_label_needs_a_name(invoke, samples, reference, names, message):
    path = samples.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_names": names}))
    result = invoke("evaluate", samples, "--reference", reference)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
