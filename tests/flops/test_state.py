"""Bytes of model state (Rajbhandari et al. 2020, arXiv 1910.02054)."""

import pytest

from dit_toolkit.flops import memory


@pytest.mark.parametrize(
    ("precision", "stages"),
    [
        ("bf16", {0: 2000, 1: 800, 2: 650, 3: 500}),
        ("fp16", {0: 2000, 1: 800, 2: 650, 3: 500}),
        ("fp32", {0: 2000, 1: 1200, 2: 900, 3: 600}),
    ],
)
def test_memory_on_four_processes(precision, stages):
    assert memory(100, world=4, precision=precision) == stages


def test_stages_differ_only_with_more_than_one_process():
    assert len(set(memory(1000, world=1, precision="bf16").values())) == 1


def test_the_example_of_the_zero_paper():
    """Figure 1: 7.5 billion parameters on 64 processes, without a moving average: 120, 31.4, 16.6 and 1.9 GB."""
    average = 4 * 7.5
    found = [value / 1e9 for value in memory(7_500_000_000, world=64, precision="bf16").values()]
    without = [found[0] - average, *(value - average / 64 for value in found[1:])]
    assert [round(value, 1) for value in without] == [120.0, 31.4, 16.6, 1.9]
