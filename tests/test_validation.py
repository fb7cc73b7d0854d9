"""`--stage validate`, after training."""

import json
import shutil

import attrs
import pytest

from dit_toolkit import load_recipe
from dit_toolkit.errors import CheckpointError, DataError, Interrupted
from dit_toolkit.run import run
from dit_toolkit.training.heldout import TIMES
from dit_toolkit.validation import newest, validate
from tests.conftest import ROOT, SMALL
from tests.data import image_tree


@pytest.fixture
def trained(small_run, tmp_path):
    """(recipe, folder): a finished run that may be written to."""
    recipe, folder = small_run
    changed = attrs.evolve(recipe, train=attrs.evolve(recipe.train, validate_images=50))
    return changed, shutil.copytree(folder, tmp_path / "run")


def test_the_stage_writes_prints_and_reports(trained, capsys):
    recipe, folder = trained
    weights = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    run(recipe, name="run", out=folder, stages=["validate"])
    found = json.loads((folder / "validation/step-00000004.json").read_text())
    assert found == newest(folder)
    assert list(found["losses"]) == ["ema", "raw"]
    for loss in found["losses"].values():
        assert [float(time) for time in loss["by_time"]] == list(TIMES)
        assert loss["mean"] == pytest.approx(sum(loss["by_time"].values()) / 8)
    assert found["losses"]["ema"] != found["losses"]["raw"]
    assert found["settings"]["images"] == 50
    assert found["settings"]["objective"]["kind"] == "flow-matching"
    told = capsys.readouterr().out
    assert "loss on 50 held-out images at step 4" in told
    assert f"{found['losses']['ema']['mean']:.5f}" in told
    assert "Held-out loss at step 4" in (folder / "report.html").read_text()
    assert {path: path.read_bytes() for path in folder.rglob("*.safetensors")} == weights


def test_it_finds_the_same_again_and_takes_the_whole_split(trained):
    recipe, folder = trained
    first = validate(recipe, folder).as_dict()
    assert validate(recipe, folder).as_dict() == first
    more = attrs.evolve(recipe, train=attrs.evolve(recipe.train, validate_images=10_000_000))
    assert len(recipe.dataset.open("val")) == 1500
    with pytest.MonkeyPatch.context() as patch:  # 1,500 images eight times are a minute
        patch.setattr(
            "dit_toolkit.training.heldout.HeldOut._losses", lambda self, network, items: [[1.0] * 8] * len(items)
        )
        assert validate(more, folder).settings["images"] == 1500


def test_a_signal_stops_it_and_nothing_is_written(trained, monkeypatch):
    recipe, folder = trained
    monkeypatch.setattr("dit_toolkit.stop._requested", "SIGTERM")
    with pytest.raises(Interrupted, match="the same command"):
        validate(recipe, folder)
    assert not (folder / "validation").exists()


def test_what_was_not_trained_is_refused(tmp_path):
    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=SMALL)
    with pytest.raises(CheckpointError, match="no checkpoint in it; train it first"):
        run(recipe, name="run", out=tmp_path / "run", stages=["validate"])


@pytest.mark.parametrize("stages", [["validate"], ["train"]])
def test_data_without_a_held_out_split_is_refused_before_training(tmp_path, stages):
    data = image_tree(tmp_path / "data")
    shutil.rmtree(data / "val")
    dataset = f"dataset={{kind='image-folder',path='{data}',image_size=32,num_classes=3}}"
    recipe = load_recipe(
        ROOT / "recipes/fashion.toml", set=[*SMALL, dataset, "model.num_classes=3", "train.validate_every=1"]
    )
    with pytest.raises(DataError, match="has a folder train, but none named val"):
        run(recipe, name="run", out=tmp_path / "run", stages=stages)
    assert not (tmp_path / "run/metrics.jsonl").exists()
