"""`pytest benchmarks`, outside the usual tests, runs as the docs say."""

import json
import subprocess
import sys

from benchmarks.test_flops import free
from tests.conftest import ROOT


def pytest_benchmarks(*words):
    command = [sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_flops_writes_table_numbers_and_plot(tmp_path):
    options = ["--size", "S", "--variant", "in-context", "--batch", 1, "--repeats", 1, "--out", tmp_path]
    code, output = pytest_benchmarks("--patch", 8, 16, *options)
    assert code == 0, output
    assert "S/16 in-context 256px" in output
    [data, picture] = sorted(tmp_path.iterdir())
    assert (data.name[10:], picture.name[10:]) == ("-flops-S-cpu-float32.json", "-flops-S-cpu-float32.png")
    found = json.loads(data.read_text())
    assert [(row["tokens"], row["patch"]) for row in found["rows"]] == [(4, 16), (16, 8)]
    assert all(row["forward_macs"] == row["forward_macs_counted"] == sum(row["macs"].values()) for row in found["rows"])
    assert all(row["forward_seconds"] > 0 and row["train_of_peak"] > 0 for row in found["rows"])
    assert set(found["hardware"]) == {"cpu", "threads", "gpu"}


def test_results_are_never_overwritten(tmp_path):
    for name in ("a.json", "a-2.json"):
        (tmp_path / name).touch()
    assert [free(tmp_path / name).name for name in ("a", "b")] == ["a-3", "b"]


def test_wrong_options_are_refused():
    code, output = pytest_benchmarks("--patch", "two")
    assert code == 4
    assert "invalid int value: 'two'" in output
