"""What only a GPU shows of loading: the same numbers as on the CPU, and none that another stream still writes."""

import numpy as np
import pytest
import torch

from dit_toolkit import load_recipe
from dit_toolkit.latents.manifest import NAME, read_manifest
from dit_toolkit.latents.reader import LatentSplit
from dit_toolkit.training.batches import Batches
from tests.conftest import ROOT
from tests.data import write_store

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("memory", ["mapped", "ram", "device"])
def test_batches_on_a_gpu_are_those_of_the_cpu(tmp_path, memory):
    moments = np.abs(np.random.default_rng(0).normal(size=(512, 2, 2, 4, 32, 32))).astype(np.float16)
    write_store(tmp_path / "store", moments, scale=[0.18215])
    manifest = read_manifest(tmp_path / "store" / NAME)
    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=["train.global_batch_size=64"])
    splits = {
        "cpu": LatentSplit(tmp_path / "store", manifest, "train"),
        "cuda:0": LatentSplit(tmp_path / "store", manifest, "train", memory),
    }
    busy = torch.randn(4096, 4096, device="cuda:0")
    found = {}
    for device, split in splits.items():
        with Batches(recipe, split, 16, device) as batches:
            found[device] = []
            for position in range(0, 64 * 40, 64):
                for batch in batches.of(position):
                    busy = busy @ busy / 64  # The stream that uses them is behind the one that makes them.
                    found[device].append((batch.x * 1, batch.y * 1, batch.generator.rand()))
    for one, other in zip(*found.values(), strict=True):
        for here, there in zip(one, other, strict=True):
            torch.testing.assert_close(there.cpu(), here, atol=1e-6, rtol=1e-5)
