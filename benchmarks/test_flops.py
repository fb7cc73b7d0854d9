"""What patch size costs: `pytest benchmarks --patch 2 4 8`.

Counts are asserted; times are printed and written to benchmarks/results/, never asserted.
"""

import json

import attrs
import pytest
import torch

from benchmarks.flops.cases import cases
from benchmarks.flops.count import count
from benchmarks.flops.machine import describe
from benchmarks.flops.measure import measure
from benchmarks.flops.plot import plot
from benchmarks.flops.report import rates, text


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(metafunc.config.option), ids=lambda case: case.name.replace(" ", "-"))


def test_counts(case):
    """The formula is what torch's counter finds, to the last multiply-add, and the paper's within 0.25 %."""
    found = count(case)
    assert found["forward_macs"] == found["forward_macs_counted"]
    assert found["training_macs"] == found["training_macs_counted"]
    if found["paper_gmacs"] is not None:
        assert found["forward_macs"] / 1e9 == pytest.approx(found["paper_gmacs"], rel=0.0025, abs=0.005)


@pytest.mark.timeout(0)
def test_times(pytestconfig, capsys):
    options = pytestconfig.option
    settings = {name: getattr(options, name) for name in ("batch", "dtype", "device", "repeats")}
    rows = []
    for case in cases(options):
        row = {"name": case.name, **attrs.asdict(case), **count(case)}
        with capsys.disabled():
            print(f"\n{case.name} ...", end="", flush=True)
        row |= measure(case, **{**settings, "dtype": getattr(torch, options.dtype)})
        rows.append(row | rates(row, options.batch))
    found = {**describe(options.device), "settings": settings, "rows": rows}
    place = free(options.out / f"{found['date']}-flops-{'-'.join(options.size)}-{options.device}-{options.dtype}")
    place.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    plot(found, place.with_suffix(".png"))
    with capsys.disabled():
        print(f"\n\n{text(found)}\n\nwritten: {place}.json and .png")


def free(place):
    """The name, with a number where it is taken: results are never overwritten."""
    number, name = 1, place
    while name.with_suffix(".json").exists():
        number += 1
        name = place.with_name(f"{place.name}-{number}")
    return name
