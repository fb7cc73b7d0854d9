import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_toolkit.random import Generator, philox


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # Random123's known answers for philox4x32-10
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, words):
    assert [int(w) for w in philox([torch.tensor([c]) for c in counter], key)] == words


@given(
    index=st.lists(st.integers(0, 2**40), min_size=1, max_size=20, unique=True),
    split=st.integers(0, 20),
    seed=st.integers(0, 2**63 - 1),
)
@settings(max_examples=40, deadline=None)
def test_a_row_depends_on_its_index_alone(index, split, seed):
    whole, first, second = (Generator(seed, "train", part) for part in (index, index[:split], index[split:]))
    for _ in range(2):
        assert torch.equal(whole.randn(2, 3), torch.cat([first.randn(2, 3), second.randn(2, 3)]))
        assert torch.equal(whole.rand(), torch.cat([first.rand(), second.rand()]))


def test_seeds_streams_and_draws_differ():
    drawn = [Generator(seed, stream, [5]).randn(4) for seed in (0, 1, 2**32) for stream in ("a", "b")]
    generator = Generator(0, "a", [5])
    drawn += [generator.randn(4), generator.randn(4)][1:]
    assert len({tuple(row.flatten().tolist()) for row in drawn}) == len(drawn)


def test_normal_and_uniform_have_their_moments():
    generator = Generator(0, "moments", range(1000))
    z = generator.randn(257).double()
    n = z.numel()
    assert abs(z.mean()) < 4 / n**0.5
    assert abs(z.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert abs(np.corrcoef(z.flatten()[:-1], z.flatten()[1:])[0, 1]) < 4 / n**0.5
    u = torch.cat([generator.rand() for _ in range(100)])
    assert 0 <= u.min() <= u.max() < 1
    assert abs(u.mean() - 0.5) < 4 / (12 * len(u)) ** 0.5
