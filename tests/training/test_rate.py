"""What a logged step says of speed."""

import pytest
import torch

from dit_toolkit import load_recipe
from dit_toolkit.training import rate
from dit_toolkit.training.rate import Rate, peak, shown
from tests.conftest import ROOT


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns, and a machine of 1,000 GFLOP/s."""
    now = [100.0]
    monkeypatch.setattr(rate.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(rate, "peak", lambda *_: 1000.0)
    return now


def test_figures_of_five_steps_in_two_seconds(clock):
    """recipes/fashion.toml: 55,263,232 multiply-adds an image; three passes of two operations each train on it."""
    made = Rate(load_recipe(ROOT / "recipes/fashion.toml"), 100)
    clock[0] += 2
    values = made.read(105)
    assert values["images_per_second"] == 5 * 64 / 2
    assert values["gflops_per_second"] == pytest.approx(160 * 6 * 55_263_232 / 1e9)
    assert values["share_of_peak"] == pytest.approx(values["gflops_per_second"] / 1000)
    assert values["seconds"] == 2
    assert values["eta_seconds"] == (2400 - 105) * 2 / 5
    clock[0] += 60  # looking at samples is no part of it
    made.start(105)
    clock[0] += 1
    assert made.read(106)["images_per_second"] == 64


def test_the_peak_is_measured_once_and_leaves_torchs_random_state(monkeypatch):
    peak.cache_clear()
    monkeypatch.setattr(rate, "BUDGET", 0.0)
    before = torch.random.get_rng_state()
    first = peak("bf16", "cpu")
    assert first > 0
    assert torch.equal(torch.random.get_rng_state(), before)
    assert peak("bf16", "cpu") == first
    peak.cache_clear()


def test_the_line_of_a_large_and_of_a_small_model():
    values = {"loss": 0.16912, "grad_norm": 0.123456, "lr": 1e-4, "images_per_second": 12345.6, "data_wait": 0.0031}
    large = shown({**values, "gflops_per_second": 8.8e6, "share_of_peak": 0.4123})
    assert " ".join(f"{key} {value}" for key, value in large.items()) == (
        "loss 0.1691 grad 0.123 lr 0.0001 images/s 12,346 TFLOP/s 8,800 peak 41% wait 0.3%"
    )
    small = shown({**values, "gflops_per_second": 0.025, "share_of_peak": 0.001, "val_loss": 0.5})
    assert (small["val"], small["GFLOP/s"], small["peak"]) == ("0.5000", "0.025", "0%")
