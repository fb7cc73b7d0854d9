"""What a run does where data or autoencoder are missing."""

import pytest
from click.testing import CliRunner

from dit_toolkit import load_recipe
from dit_toolkit.cli import cli
from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.run import run
from tests.conftest import ROOT

TINY = [
    "dataset.kind=synthetic",
    "model.hidden_size=16",
    "model.depth=1",
    "model.num_heads=2",
    "train.max_steps=2",
    "train.global_batch_size=4",
    "train.precision=fp32",
    "train.backend.kind=single",
]


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(cli, list(map(str, words)))


def test_without_data_two_commands_are_named_and_nothing_is_left(invoke, tmp_path):
    path = ROOT / "recipes/xl2.toml"
    result = invoke("run", path)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: dataset.path: there are no latents in data/imagenet256. For ImageNet, two commands make them:",
        "  dit-toolkit prepare imagenet --archives DIR --out data/imagenet",
        f"  dit-toolkit encode {path} --images data/imagenet --out data/imagenet256",
    ]
    assert list(tmp_path.iterdir()) == []


def test_without_data_no_process_is_started(invoke, monkeypatch):
    monkeypatch.setattr("dit_toolkit.launch.spawn", None)
    assert invoke("run", ROOT / "recipes/xl2-512.toml", "--procs", "2").exit_code == 2


def test_in_python_the_recipe_has_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDataError, match="encode RECIPE --images data/imagenet --out data/imagenet256"):
        run(load_recipe(ROOT / "recipes/xl2.toml"), name="x")


def test_latents_are_trained_on_without_an_autoencoder_and_the_loss_starts_at_one(tmp_path, capsys):
    """An untrained model returns 0, so its squared error of the noise is 1, plus the bound of the variance."""
    recipe = load_recipe(
        ROOT / "recipes/xl2.toml",
        set=[
            *TINY,
            "autoencoder.path=nowhere/at-all",
            "objective.learn_sigma=false",
            "sample.sampler.variance=fixed-small",
        ],
    )
    folder = run(recipe, name="x", out=tmp_path / "run")
    told = capsys.readouterr().err
    assert "warning: autoencoder.path: nowhere/at-all is no folder here and cannot be had from the hub" in told
    assert "no samples will be drawn" in told
    assert not (folder / "samples").exists()
    [line] = (folder / "metrics.jsonl").read_text().splitlines()
    assert '"loss": 1.0' in line or '"loss": 0.99' in line


def test_samples_that_were_asked_for_need_the_autoencoder(tmp_path):
    recipe = load_recipe(ROOT / "recipes/xl2.toml", set=[*TINY, "autoencoder.path=./nowhere"])
    with pytest.raises(DataError, match=r"autoencoder\.path: \./nowhere is not there"):
        run(recipe, name="x", out=tmp_path / "run", stages=["train", "sample"])
