"""A few of the kills of `benchmarks/torture.py`."""

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_runs_that_are_killed_end_bit_for_bit_as_if_they_had_not_been():
    command = [sys.executable, "-m", "benchmarks.torture", "--kills", "16", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == sum(found["by_signal"].values()) == 16
    assert found["runs_ended_bit_identical"] >= 2
    assert found["data_lost"] == 0
