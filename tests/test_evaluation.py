"""Floors, ceilings, settings and warnings around a recipe's metrics."""

import json
import re
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
from attrs import frozen
from rich.console import Console

from dit_toolkit.autoencoders.identity import Identity
from dit_toolkit.components import Metric, RealImages
from dit_toolkit.datasets.fashion import Fashion
from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.errors import DataError
from dit_toolkit.evaluation import (
    T95,
    Results,
    alike,
    compare_with,
    evaluate,
    evenly,
    judge,
    real_images,
    table,
    told_shortly,
)
from dit_toolkit.extractors.fashion import Fashion as Classifier
from dit_toolkit.imageset import ImageSet
from dit_toolkit.metrics.class_accuracy import ClassAccuracy
from dit_toolkit.metrics.frechet_distance import FrechetDistance
from dit_toolkit.metrics.memorisation import Memorisation
from dit_toolkit.references import Reference, read_reference, write_reference

SPLITS = real_images(Fashion())
FD = FrechetDistance(extractor=Classifier())


@frozen(kw_only=True)
class Brightness(Metric):
    """Mean pixel, scaled."""

    kind = "brightness"
    higher_is_better = None
    unit = "levels"
    scale: float = 1.0

    def compute(self, samples, real):
        return float(samples.each("mean", lambda block: block.mean((1, 2, 3))).mean()) * self.scale


@frozen(kw_only=True)
class Sampler:
    kind = "half"
    num_steps: int = 12


def make_recipe(*metrics, **sample):
    guidance = {"cfg_scale": 2.0, "cfg_channels": None, "cfg_interval": (0.2, 0.8), "cfg_rescale": 0.5, "guide": None}
    settings = {"weights": "ema", "seed": 3, "sampler": Sampler()} | guidance | sample
    return SimpleNamespace(
        dataset=Fashion(),
        autoencoder=Identity(),
        objective=Identity(),
        train=SimpleNamespace(max_steps=100, global_batch_size=64),
        sample=SimpleNamespace(**settings),
        evaluate=SimpleNamespace(metrics=list(metrics), reference=None),
    )


def draw(count, labels=None):
    """Training images of the classes asked for."""
    labels = np.arange(count) % 10 if labels is None else labels
    chosen = alike(ImageSet(np.zeros((len(labels), 32, 32, 3), np.uint8), labels), SPLITS.train)
    return SPLITS.train.images[chosen], SPLITS.train.labels[chosen]


def test_real_images_are_both_splits_and_read_when_they_are_asked_for():
    assert SPLITS.train.images.shape == (8_500, 32, 32, 3)
    assert SPLITS.reference.images.shape == (1_500, 32, 32, 3)
    first = SPLITS.reference.images[np.arange(20)]
    assert (first.dtype, first.shape, first.max()) == (np.uint8, (20, 32, 32, 3), 255)
    np.testing.assert_array_equal(SPLITS.reference.labels, Fashion().open("val").labels)


def test_three_metrics_of_training_images_are_told_apart():
    images, labels = draw(300)
    results = evaluate(images, labels, make_recipe(ClassAccuracy(), FD, Memorisation()))
    accuracy, distance, copies = results.scores.values()
    assert list(results.scores) == ["class-accuracy", "fd-fashion", "memorisation"]
    assert accuracy.value > 0.9
    assert accuracy.floor > 0.85
    assert accuracy.ceiling < 0.3
    assert distance.floor_split == "train"
    assert distance.value == distance.floor < distance.ceiling / 10
    assert copies.value == 0
    assert copies.floor == pytest.approx(1, abs=0.1)
    assert copies.ceiling > 2
    assert results.warnings == [
        "distances depend on the number of samples: compare these with values of 300, or with the floor; published "
        "ones are of 50,000"
    ]


def test_results_are_json_and_come_back():
    results = evaluate(*draw(20), make_recipe(Brightness(scale=2.0)))
    text = json.dumps(results.as_dict(), allow_nan=False)
    assert Results.from_dict(json.loads(text)) == results
    assert results.settings == {
        "num_samples": 20,
        "classes": "balanced",
        "weights": "ema",
        "cfg_scale": 2.0,
        "cfg_channels": None,
        "cfg_interval": [0.2, 0.8],
        "cfg_rescale": 0.5,
        "guide": None,
        "sampler": {"kind": "half", "num_steps": 12},
        "objective": {"kind": "identity"},
        "autoencoder": {"kind": "identity"},
        "dataset": {"kind": "fashion", "image_size": 32, "flip": False, "split_seed": 0},
        "train_steps": 100,
        "global_batch_size": 64,
        "seed": 3,
        "reference": "val images",
        "reference_images": 1500,
        "extractors": {},
    }
    score = results.scores["brightness"]
    assert score.options == {"scale": 2.0}
    assert score.ceiling == pytest.approx(255, abs=2)
    assert (score.floor_split, score.floor_count) == ("reference", 20)


def test_floor_has_the_classes_of_the_samples():
    labels = np.array([1] * 30 + [8] * 10)
    chosen = alike(ImageSet(np.zeros((40, 1, 1, 3), np.uint8), labels), SPLITS.reference)
    assert np.bincount(SPLITS.reference.labels[chosen]).tolist() == [0, 30, 0, 0, 0, 0, 0, 0, 10]
    assert len(set(chosen.tolist())) == 40


def test_where_classes_are_not_known_any_images_are_the_floor():
    chosen = alike(ImageSet(np.zeros((40, 1, 1, 3), np.uint8)), SPLITS.reference)
    assert len(set(chosen.tolist())) == 40


def test_a_reference_alone_is_judged_by_its_other_half():
    samples = ImageSet(*draw(100))
    score = judge([FD], samples, RealImages(SPLITS.reference))["fd-fashion"]
    assert (score.floor_split, score.floor_count, score.ceiling) == ("halves", 750, None)
    assert 0 < score.floor < score.value


def test_the_interval_is_that_of_the_error():
    score = evaluate(*draw(100), make_recipe(Brightness())).scores["brightness"]
    assert score.interval == (score.value - T95 * score.error, score.value + T95 * score.error)
    assert score.error > 0
    assert evaluate(*draw(1), make_recipe(Brightness())).scores["brightness"].interval is None


def test_floor_is_smaller_where_the_split_has_no_more():
    images, labels = draw(2_000)
    assert evaluate(images, labels, make_recipe(Brightness())).scores["brightness"].floor_count == 1_500


def test_missing_classes_are_a_warning():
    images, labels = draw(12, np.array([2, 7] * 6))
    results = evaluate(images, labels, make_recipe(Brightness()))
    assert results.warnings[0].startswith(
        "8 of 10 classes have no sample (T-shirt/top, Trouser, Dress, Coat, Sandal, ...)"
    )
    assert results.settings["classes"] == {"2": 6, "7": 6}


def test_unbalanced_classes_are_a_warning():
    images, labels = draw(30, np.array([*range(10), *range(10), *[4] * 10]))
    assert evaluate(images, labels, make_recipe(Brightness())).warnings == [
        "classes are not balanced (2 to 12 samples each)"
    ]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 28, 28, 3), np.uint8), [0, 1], r"28, 3\); the dataset 'fashion' asks for uint8 \(N, 32, 32, 3\)"),
        (np.zeros((2, 32, 32, 3)), [0, 1], "samples are float64"),
        (np.zeros((0, 32, 32, 3), np.uint8), [], "samples are uint8"),
        (np.zeros((2, 32, 32, 3), np.uint8), [0], r"2 samples, but labels of shape \(1,\)"),
        (np.zeros((2, 32, 32, 3), np.uint8), [0, 10], "labels go from 0 to 10; 'fashion' has classes 0 to 9"),
        (np.zeros((2, 32, 32, 3), np.uint8), [-1, 0], "labels go from -1 to 0"),
    ],
)  # fmt: skip
def test_samples_that_do_not_fit_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        evaluate(images, np.array(labels), make_recipe(Brightness()))


def test_table_shows_values_and_directions():
    results = evaluate(*draw(10), make_recipe(Brightness()))
    score = attrs.evolve(results.scores["brightness"], value=0.5, higher_is_better=False, unit="")
    results = attrs.evolve(results, scores={**results.scores, "distance": score})
    console = Console(width=100)
    with console.capture() as captured:
        console.print(table(results))
    text = captured.get()
    assert "10 samples" in text
    brightness, distance = (
        re.split(r"  +", line.strip()) for line in text.splitlines() if "levels" in line or "distance" in line
    )
    assert (brightness[0], brightness[-1]) == ("brightness (levels)", "≈ floor")
    assert (distance[:2], distance[-1]) == (["distance", "0.5"], "↓")


def test_what_the_numbers_depend_on_is_in_a_line():
    settings = {
        "step": 4000, "weights": "ema", "cfg_scale": 1.5, "sampler": {"kind": "heun", "num_steps": 12},
        "reference": {"file": "ref.npz"}, "reference_images": 10_000, "extractors": {"fashion": "e6dfb3de04ad"},
    }  # fmt: skip
    expected = "step 4,000, ema weights, cfg_scale 1.5, heun 12 steps, against 10,000 ref.npz, fashion e6dfb3de"
    assert told_shortly(settings) == expected
    assert told_shortly({"reference": "val images"}) == "against val images"


def test_what_the_file_beside_tells_goes_before_the_recipe():
    facts = {"weights": "raw", "step": 7, "labels": [0] * 20, "fit_for_fid": False, "unfit_for_fid": "labels: 2 of 10"}
    results = evaluate(*draw(20), make_recipe(Brightness()), facts=facts)
    assert (results.settings["weights"], results.settings["step"], results.settings["seed"]) == ("raw", 7, 3)
    assert "labels" not in results.settings
    assert results.warnings == [
        "labels: 2 of 10",
        "the weights are not averaged (raw), as those of published numbers are",
    ]


def test_few_samples_and_other_sizes_are_told():
    reference = Reference(images=SPLITS.reference, facts={"image": [1, 28, 28]})
    results = compare_with(ImageSet(*draw(100)), RealImages(SPLITS.reference), [FD], facts={}, reference=reference)
    assert results.warnings[1:] == [
        "samples have 32 x 32 pixels, the reference 28 x 28",
        "fd-fashion: 100 samples for 128 features; their covariance is not of full rank",
    ]


def test_a_reference_file_takes_the_place_of_the_held_out_images(tmp_path):
    write_reference(tmp_path / "ref.npz", SPLITS.reference.apart(np.arange(400)), [Classifier()], {})
    recipe = make_recipe(FD)
    recipe.evaluate.reference = str(tmp_path / "ref.npz")
    results = evaluate(*draw(100), recipe)
    assert results.settings["reference"]["file"] == str(tmp_path / "ref.npz")
    assert results.scores["fd-fashion"].floor_split == "train"
    expected = FD.compute(ImageSet(*draw(100)), RealImages(SPLITS.reference.apart(np.arange(400))))
    assert results.scores["fd-fashion"].value == pytest.approx(expected, rel=1e-12)


def test_images_that_cannot_be_read_beside_a_reference_are_told(tmp_path, capsys):
    write_reference(tmp_path / "ref.npz", SPLITS.reference.apart(np.arange(40)), [Classifier()], {})
    missing = ImageFolder(path=str(tmp_path / "nowhere"), num_classes=10)
    real = real_images(missing, reference=read_reference(tmp_path / "ref.npz"))
    assert (len(real.reference.moments(Classifier(), "features").mean), real.train) == (128, None)
    told = capsys.readouterr().err
    assert told.count("warning: no ") == 2
    assert f"no train images beside the reference: dataset.path: there is no folder {tmp_path / 'nowhere'}" in told


def test_some_images_are_taken_evenly():
    chosen = evenly(SPLITS.reference, 57)
    assert len(set(chosen.tolist())) == 57
    counts = np.bincount(SPLITS.reference.labels[chosen])
    assert (counts.min(), counts.max()) == (5, 6)
