"""Samplers against each other on a small run: costs counted, the marked one, and what is found again."""

import io
import json
import os
import signal
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
from attrs import frozen
from PIL import Image
from rich.console import Console

import dit_toolkit as dit
from dit_toolkit import comparison, stop
from dit_toolkit.comparison import compare, faults, name_of, table
from dit_toolkit.components import Metric
from dit_toolkit.images import read_npz, to_uint8
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.heun import Heun

SAMPLERS = [Heun(num_steps=3), Euler(num_steps=2), Euler(num_steps=6)]


@frozen(kw_only=True)
class Mean(Metric):
    """Mean pixel: nothing that a sampler would change much, so that the cheapest one wins."""

    kind = "mean"
    higher_is_better = True

    def compute(self, samples, real):
        return float(samples.each("mean", lambda block: block.mean((1, 2, 3))).mean())


@pytest.fixture(scope="module")
def trained(small_run):
    found = dit.load(small_run[1])
    recipe = attrs.evolve(found.recipe, evaluate=dit.Evaluate(metrics=[Mean()]))
    return attrs.evolve(found, recipe=recipe).with_sample(attrs.evolve(recipe.sample, num_samples=12, cfg_scale=2.0))


@pytest.fixture(scope="module")
def compared(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared")
    return compare(trained, SAMPLERS, out), out


def test_evaluations_are_counted_with_both_passes(compared, trained):
    result, _ = compared
    assert {o.name: o.evaluations for o in result.outcomes} == {"heun:3": 10, "euler:2": 4, "euler:6": 12}
    assert all(o.seconds > 0 for o in result.outcomes)
    assert (result.settings["num_samples"], result.settings["cfg_scale"]) == (12, 2.0)
    assert "sampler" not in result.settings


def test_the_interval_is_counted_too(trained, tmp_path):
    part = trained.with_sample(attrs.evolve(trained.recipe.sample, cfg_interval=(0.4, 0.6)))
    result = compare(part, [Euler(num_steps=10)], tmp_path)
    assert result.outcomes[0].evaluations == 10 + 3  # t = 0.4, 0.5, 0.6


def test_samples_are_those_of_the_sampler_and_files_are_there(compared, trained):
    result, out = compared
    images = read_npz(out / "heun-3.npz")
    expected = trained.sample(range(10), sampler=SAMPLERS[0]).numpy()
    assert np.abs(images[:10, :, :, 0] - np.clip(expected[:, 0] * 127.5 + 128, 0, 255)).max() <= 1.01
    facts = json.loads((out / "heun-3.json").read_text())
    assert facts["labels"] == [*range(10), 0, 1]
    assert facts["scores"]["mean"] == pytest.approx(images.mean())
    assert json.loads((out / "comparison.json").read_text()) == attrs.asdict(result)
    for name in ("comparison.png", "samples.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100


def test_the_table_marks_what_is_recommended_and_says_why(compared):
    result, _ = compared
    with (console := Console(width=120, file=io.StringIO())).capture() as captured:
        console.print(table(result))
    text = captured.get()
    assert f"{result.recommended} ★" in text
    assert "12 samples each, cfg_scale 2, ema weights" in text
    assert result.rule.split(";")[0] in " ".join(text.split())


def test_what_is_finished_is_not_drawn_again(compared, trained, monkeypatch):
    result, out = compared
    drawn = []
    original = comparison._draw
    monkeypatch.setattr(comparison, "_draw", lambda *args: drawn.append(args[3]) or original(*args))
    again = compare(trained, [*SAMPLERS, Heun(num_steps=1)], out)
    assert drawn == ["heun:1"]
    assert again.outcomes[:3] == result.outcomes
    with pytest.raises(dit.DataError, match=r"heun-3.json: other settings \(seed 0 there, 5 here\); give another"):
        compare(trained.with_sample(attrs.evolve(trained.recipe.sample, seed=5)), SAMPLERS, out)


def test_a_signal_keeps_finished_samplers(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(stop, "_requested", None)  # and again after the test
    original = comparison._draw

    def stopping(*args):
        if args[3] == "euler:2":
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    monkeypatch.setattr(comparison, "_draw", stopping)
    with stop.listening(), pytest.raises(dit.Interrupted, match="the same command goes on"):
        compare(trained, SAMPLERS, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heun-3.json", "heun-3.npz"]


def judged(trained, tmp_path, values, higher, floor, **options):
    """Compare three samplers of 10, 4 and 12 evaluations whose metric has the given values."""

    @frozen(kw_only=True)
    class Given(Metric):
        kind = "given"
        higher_is_better = higher

        def compute(self, samples, real):
            return next(asked)

    asked = iter([*values, floor, *[values[0]] * 30])
    recipe = attrs.evolve(trained.recipe, evaluate=dit.Evaluate(metrics=[Given()]))
    return compare(attrs.evolve(trained, recipe=recipe), SAMPLERS, tmp_path, **options)


@pytest.mark.parametrize(
    ("higher", "values", "tolerance", "name"),
    [
        (True, (0.9, 0.8, 0.95), 0.0, "euler:6"),
        (True, (0.9, 0.8, 0.95), 0.05, "heun:3"),
        (True, (0.9, 0.8, 0.95), 0.2, "euler:2"),
        (False, (0.9, 0.8, 0.95), 0.0, "euler:2"),
        (False, (0.9, float("nan"), 0.95), 0.0, "heun:3"),
        (None, (0.9, 1.2, 1.06), 0.0, "euler:6"),
        (None, (0.9, 1.2, 1.06), 0.05, "heun:3"),
    ],
)
def test_the_cheapest_within_the_tolerance_is_recommended(trained, tmp_path, higher, values, tolerance, name):
    result = judged(trained, tmp_path, values, higher, 1.0, tolerance=tolerance)
    assert result.recommended == name
    assert f"within {tolerance:.3g} of the best" in result.rule


def test_guidance_is_varied_with_each_sampler(trained, tmp_path):
    result = compare(trained, SAMPLERS[:2], tmp_path, cfg_scales=[1.0, 3.0])
    found = {outcome.name: (outcome.cfg_scale, outcome.evaluations) for outcome in result.outcomes}
    assert found == {
        "heun:3 cfg_scale=1": (1.0, 5),
        "heun:3 cfg_scale=3": (3.0, 10),
        "euler:2 cfg_scale=1": (1.0, 2),
        "euler:2 cfg_scale=3": (3.0, 4),
    }
    assert "cfg_scale" not in result.settings
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.size[0] == 15 * 130
    drawn = read_npz(tmp_path / "euler-2-cfg_scale=1.npz")
    alone = trained.sample(np.arange(12) % 10, sampler=SAMPLERS[1], cfg_scale=1.0)
    assert (drawn == to_uint8(alone)).mean() > 0.999
    assert faults(trained, SAMPLERS[:1], None, [2.0, 2.0]) == ["cfg_scale 2: given twice"]


@frozen(kw_only=True)
class Free:
    kind = "free"
    num_steps = None


def test_names_show_what_is_no_default():
    assert [name_of(s) for s in (Heun(num_steps=3), DDIMSampler(eta=0.5))] == ["heun:3", "ddim:50 eta=0.5"]
    assert name_of(Free()) == "free"


def test_everything_that_cannot_be_is_said_at_once(trained):
    lines = faults(trained, [DDPMSampler(num_steps=5), Heun(), Heun()], "fid")
    assert [line.split(":")[0] for line in lines] == ["ddpm", "heun", "metric"]
    assert lines[1:] == ["heun:25: given twice", "metric: the recipe has no 'fid'; it has mean"]
    recipe = attrs.evolve(trained.recipe, evaluate=dit.Evaluate(metrics=[]))
    bare = SimpleNamespace(recipe=recipe)
    assert faults(bare, []) == ["samplers: none given", "evaluate.metrics: the recipe has none to compare by"]
    with pytest.raises(dit.RecipeError, match="samplers: none given"):
        compare(trained, [], None)
