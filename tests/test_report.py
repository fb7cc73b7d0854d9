"""The page is one file, shows what it was given, and trusts none of it."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.report import figure, plots, read_log, write_report

EVIL = "<script>alert('x')</script>"
SCORE = {
    "value": 0.93, "error": 0.008, "interval": [0.912, 0.948],
    "floor": 0.905, "ceiling": 0.1, "floor_split": "reference", "floor_count": 1000,
    "higher_is_better": True, "unit": "", "options": {},
}  # fmt: skip
EVALUATION = {
    "scores": {"class-accuracy": SCORE, "memorisation": {**SCORE, "higher_is_better": None, "unit": "x held-out"}},
    "settings": {"num_samples": 1000, "sampler": {"kind": "ddim", "num_steps": 20}, "cfg_channels": None},
    "warnings": [EVIL],
    "seconds": 3.5,
}


def write_log(path, steps=5):
    rows = [
        {
            "step": i * 100,
            "images_seen": i * 6400,
            "loss": 1 / i,
            "grad_norm": 0.5,
            "lr": 1e-3,
            "images_per_second": 900.0,
        }
        for i in range(1, steps + 1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write(folder, **changes):
    picture = folder / "grid.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(picture)
    arguments = {
        "name": "fashion",
        "recipe_toml": "[model]\nhidden_size = 64\n",
        "summary": {"parameters": 1_234_567, "GMACs": 0.01234, "device": "cpu"},
        "metrics_jsonl": write_log(folder / "metrics.jsonl"),
        "grid": picture,
        "evaluation": EVALUATION,
        "provenance": {"torch": "2.8", "commit": None},
    }
    return write_report(folder / "report.html", **{**arguments, **changes}).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Checks that what is opened is closed; collects the attributes that would load something."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.names = [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed_and_loads_nothing(tmp_path):
    page = write(tmp_path)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in tags.links)
    assert "script" not in tags.names
    assert tags.names.count("svg") == 4
    assert not re.search(r"url\((?!#)|@import", page)


def test_page_shows_what_it_was_given(tmp_path):
    page = write(tmp_path)
    for text in (
        "1,234,567",
        "0.01234",
        "hidden_size = 64",
        "0.93",
        "0.905",
        "x held-out",
        "≈ floor",
        "ddim, num_steps 20",
    ):
        assert text in page
    assert "loss: 1 at step 100, 0.2 at step 500" in page


def test_text_is_escaped(tmp_path):
    page = write(tmp_path, name=EVIL, recipe_toml=EVIL, summary={EVIL: EVIL}, provenance={"a": EVIL})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7  # title, heading, label, value, warning, recipe, provenance


def test_bare_run_has_a_page_too(tmp_path):
    page = write(tmp_path, metrics_jsonl=None, grid=None, evaluation=None, summary={})
    assert "<svg" not in page
    assert "<img" not in page
    assert "hidden_size = 64" in page


def test_plots_follow_the_theme(tmp_path):
    (loss, *_) = plots(read_log(write_log(tmp_path / "metrics.jsonl")))
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", str(loss["svg"])))
    assert colours <= {"#000000"}
    assert "currentColor" in loss["svg"]
    assert "var(--accent)" in loss["svg"]


def test_held_out_loss_is_drawn_beside_the_loss_and_by_time(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [
        {
            "step": step,
            "loss": 0.5,
            **({"val_loss": 0.4, "val_loss/0.0625": 0.6, "val_loss/0.9375": 0.2} if step % 2 else {}),
        }
        for step in range(1, 6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loss, by_time = plots(read_log(path))
    assert loss["text"] == "loss: 0.5 at step 1, 0.5 at step 5; held-out loss: 0.4 at step 1, 0.4 at step 5"
    assert "var(--second)" in loss["svg"]
    assert by_time["text"].startswith("t = 0.0625: 0.6 at step 1")
    assert "color-mix(in srgb, var(--accent), var(--second) 6%)" in by_time["svg"]
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", str(loss["svg"]) + str(by_time["svg"])))
    assert colours <= {"#000000"}


def test_samples_over_time_are_small_and_at_most_eight(tmp_path):
    during = tmp_path / "during"
    during.mkdir()
    for step in range(100, 2100, 100):
        for weights in ("ema", "raw"):
            Image.fromarray(np.zeros((900, 1500, 3), np.uint8)).save(during / f"step-{step:08d}-{weights}.png")
    (during / "step-00000001-ema.txt").touch()
    page = write(tmp_path, during=during)
    steps = [int(text.replace(",", "")) for text in re.findall(r"<figcaption>step ([0-9,]+)</figcaption>", page)]
    assert steps[:8] == steps[8:]
    assert (len(steps), steps[0], steps[7]) == (16, 100, 2000)
    assert page.count('width="608" height="365"') == 16
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(link.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "#")) for link in tags.links)
    (during / "step-00000100-ema.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"step-00000100-ema\.png: cannot be read"):
        write(tmp_path, during=during)


def test_held_out_loss_of_the_stage(tmp_path):
    loss = {"mean": 0.25, "by_time": {"0.0625": 0.375, "0.9375": 0.125}}
    found = {"losses": {"ema": loss, "raw": {**loss, "mean": 0.75}}, "settings": {"step": 2400, "images": 1000}}
    page = write(tmp_path, validation=found)
    for text in ("Held-out loss at step 2,400", "1,000 held-out images", "0.375", "0.75"):
        assert text in page


def test_pages_of_equal_content_are_equal(tmp_path):
    assert write(tmp_path) == write(tmp_path)


def test_older_page_is_replaced_and_no_other_file_is_left(tmp_path):
    write(tmp_path)
    assert "second" in write(tmp_path, name="second")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grid.png", "metrics.jsonl", "report.html"]


def test_log_of_a_resumed_and_killed_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [
        '{"step": 100, "loss": 1.0}',
        '{"step": 200, "loss": 0.9}',
        '{"step": 200, "loss": 0.8}',
        "[1]",
        '{"step": 30',
    ]
    path.write_text("\n".join(rows))
    assert read_log(path) == [{"step": 100, "loss": 1.0}, {"step": 200, "loss": 0.8}]


def test_values_that_are_not_finite_or_missing_are_not_drawn(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": NaN}\n{"step": 3, "loss": 0.5, "lr": null}\n')
    drawn = plots(read_log(path))
    assert [plot["text"] for plot in drawn] == ["loss: 1 at step 1, 0.5 at step 3"]


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: cannot be read"):
        write(tmp_path, grid=tmp_path / "none.png")
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(
            tmp_path / "no" / "report.html",
            name="", recipe_toml="", summary={}, metrics_jsonl=None, grid=None, evaluation=None, provenance={},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_234_567, "1,234,567"), (0.012345678, "0.01235"), (12345.678, "12,345.7"), (4000.0, "4,000"), (None, "-"),
     (True, "True"), (float("nan"), "nan"), (1e-4, "0.0001"), ("as is", "as is"), (0.5, "0.5")],
)  # fmt: skip
def test_figures(value, text):
    assert figure(value) == text


def test_comparisons_are_shown_with_their_plot(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "comparison.png")
    found = {
        "outcomes": [
            {"name": f"heun:{n}", "evaluations": 2.0 * n, "seconds": 0.01, "scores": {"fd-fashion": 1.0 / n}}
            for n in (4, 8)
        ],
        "floors": {"fd-fashion": 0.125}, "directions": {"fd-fashion": False}, "recommended": "heun:8",
        "rule": f"fewest {EVIL}", "settings": {"num_samples": 500, "weights": "ema", "step": 4000},
    }  # fmt: skip
    page = write(tmp_path, comparisons=[(found, tmp_path / "comparison.png")])
    for text in ("heun:8 ★", "0.125", "500 samples of each, ema weights of step 4,000", "fd-fashion ↓"):
        assert text in page
    assert EVIL not in page


def test_metrics_in_training_are_curves(tmp_path):
    rows = [{"step": step, "loss": 1.0, "eval/fd-fashion": 10.0 / step} for step in (1, 2)]
    drawn = {plot["title"]: plot["text"] for plot in plots(rows)}
    assert drawn["fd-fashion in training"] == "fd-fashion: 10 at step 1, 5 at step 2"
