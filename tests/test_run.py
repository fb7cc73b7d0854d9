"""What a run does where data or autoencoder are missing."""

import errno
import shutil

import attrs
import pytest
from click.testing import CliRunner

from dit_toolkit import distributed, load_recipe
from dit_toolkit.checkpoint import newest, read_manifest
from dit_toolkit.cli import cli
from dit_toolkit.errors import CheckpointError, DataError, MissingDataError
from dit_toolkit.files import alone
from dit_toolkit.recipe.load import dumps
from dit_toolkit.run import run
from dit_toolkit.training.data import open_data
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


def test_without_latents_of_other_images_other_commands_are_named(invoke):
    path = ROOT / "recipes/fashion-latent.toml"
    assert invoke("run", path).stderr.splitlines()[1:] == [
        f"  dit-toolkit encode {path} --images DIR --out data/fashion-latents",
        f"  dit-toolkit encode {path} --set dataset.kind=KIND --out data/fashion-latents",
    ]


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


def test_changed_options_are_refused_one_by_one_and_accepted_on_demand(tmp_path, capsys):
    recipe = load_recipe(ROOT / "recipes/b2.toml", set=TINY)
    folder = run(recipe, name="x", out=tmp_path / "run", stages=["train"])
    other = load_recipe(
        ROOT / "recipes/b2.toml", set=[*TINY, "train.max_steps=3", "train.lr=0.5", "train.ema_decay=0.9", "seed=7"]
    )
    with pytest.raises(CheckpointError) as caught:
        run(other, name="x", out=folder, stages=["train"])
    changes = [
        "seed: 0 there, 7 here",
        "train.ema_decay: 0.9999 there, 0.9 here",
        "train.lr: 0.0001 there, 0.5 here",
    ]
    assert [line.strip() for line in caught.value.lines[1:]] == changes
    assert "--accept-changes" in caught.value.lines[0]
    capsys.readouterr()
    run(other, name="x", out=folder, stages=["train"], accept_changes=True)
    told = capsys.readouterr().err
    for change in changes:
        assert f"warning: the recipe has changed: {change}" in told
    assert read_manifest(newest(folder / "checkpoints"))["step"] == 3


def test_another_model_does_not_fit_whatever_is_accepted(tmp_path):
    recipe = load_recipe(ROOT / "recipes/b2.toml", set=TINY)
    folder = run(recipe, name="x", out=tmp_path / "run", stages=["train"])
    wider = load_recipe(ROOT / "recipes/b2.toml", set=[*TINY, "model.hidden_size=32", "train.max_steps=3"])
    before = (folder / "recipe.toml").read_text()
    with pytest.raises(CheckpointError, match=r"holds another model: \S+ is \(16,.*\) there and \(32,.*\) in that of"):
        run(wider, name="x", out=folder, stages=["train"], accept_changes=True)
    assert (folder / "recipe.toml").read_text() == before


def test_a_start_that_was_killed_over_its_first_file_is_gone_on_with(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.recipe.toml.17.tmp").write_text("half of i")
    folder = run(load_recipe(ROOT / "recipes/b2.toml", set=TINY), name="x", out=tmp_path / "run", stages=["train"])
    assert read_manifest(newest(folder / "checkpoints"))["step"] == 2
    assert not [path for path in folder.iterdir() if path.name.startswith(".recipe.toml")]


def test_a_folder_in_which_another_command_trains_is_refused_until_that_has_ended(tmp_path):
    recipe = load_recipe(ROOT / "recipes/b2.toml", set=TINY)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.toml").write_text(dumps(recipe))
    with alone(tmp_path / "run"), pytest.raises(DataError, match="another command is writ"):
        run(recipe, name="x", out=tmp_path / "run", stages=["train"])
    assert not (tmp_path / "run/checkpoints").exists()
    run(recipe, name="x", out=tmp_path / "run", stages=["train"])
    with alone(tmp_path / "run"):
        run(recipe, name="x", out=tmp_path / "run", stages=["validate"])


def test_a_file_system_without_locks_is_trained_on_all_the_same(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with alone(tmp_path):
        pass


@pytest.mark.parametrize("stage", ["validate", "sample"])
def test_a_checkpoint_is_verified_by_one_of_the_processes(small_run, tmp_path, monkeypatch, stage):
    """Where another process does what `main_alone` is for, this one computes no hash."""
    recipe, trained = small_run
    folder = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("samples"))
    told, main_alone = newest(folder / "checkpoints"), distributed.main_alone
    monkeypatch.setattr("dit_toolkit.checkpoint.sha256_of_file", None)
    monkeypatch.setattr(
        distributed,
        "main_alone",
        lambda work: told if "newest_checkpoint" in work.__code__.co_names else main_alone(work),
    )
    few = attrs.evolve(recipe, train=attrs.evolve(recipe.train, validate_images=8))
    run(few, name="x", out=folder, stages=[stage])


def test_more_processes_than_images(monkeypatch):
    recipe = load_recipe(ROOT / "recipes/b2.toml", set=[*TINY, "dataset.num_images=3"])
    monkeypatch.setattr("dit_toolkit.distributed.size", lambda: 4)
    with pytest.raises(DataError, match=r"dataset: 3 image\(s\) of train cannot be shared by 4 processes"):
        open_data(recipe, "train", "cpu")
