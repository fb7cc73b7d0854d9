import os
from pathlib import Path
from textwrap import dedent

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[1]

SMALL = [
    "model.hidden_size=16",
    "model.depth=2",
    "model.num_heads=2",
    "model.patchifier.patch_size=8",
    "train.max_steps=4",
    "train.lr_warmup_steps=0",
    "train.global_batch_size=8",
    "train.precision=fp32",
    "train.ema_more=[0.05]",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "train.validate_every=0",
    "train.sample_every=0",
    "train.backend.kind=single",
    "sample.num_samples=20",
    "sample.batch_size=8",
    "sample.precision=fp32",
    "sample.grid_columns=2",
]
"""Changes to recipes/fashion.toml that make it run in a second."""


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A finished run of a small model: (recipe, folder)."""
    from dit_toolkit import load_recipe
    from dit_toolkit.run import run

    recipe = load_recipe(ROOT / "recipes/fashion.toml", set=SMALL)
    return recipe, run(recipe, name="small", out=tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a one-module plugin: install("good", source) gives dit-toolkit-plugin-good 0.1."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, text, version="0.1"):
        module = f"plugin_{name}_{tmp_path.name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(dedent(text))
        info = tmp_path / f"dit_toolkit_plugin_{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dit-toolkit-plugin-{name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[dit_toolkit]\n{name} = {module}\n")
        return info

    return install
