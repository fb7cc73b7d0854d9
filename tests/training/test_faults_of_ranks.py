"""A bad image on one of two processes: both decide alike, and the report names the process and the image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from dit_toolkit import checkpoint
from tests.conftest import ROOT

PLUGIN = '''
"""A data set of which one image is not a number."""
import torch
from attrs import frozen

from dit_toolkit import hookimpl
from dit_toolkit.datasets.synthetic import Synthetic


@frozen(kw_only=True)
class Spoilt(Synthetic):
    """Random numbers, but for one image."""

    kind = "spoilt"
    item: int

    def open_latents(self, split, shape):
        found = super().open_latents(split, shape)
        batch = found.batch

        def spoilt(indices, generator=None):
            x, y = batch(indices, generator)
            return torch.where(torch.as_tensor(indices == self.item)[:, None, None, None], torch.nan, x), y

        found.batch = spoilt
        return found


@hookimpl
def register_datasets():
    return [Spoilt]
'''
ITEM = 25
SETTINGS = [
    f'dataset={{kind="spoilt", image_size=8, num_classes=4, num_images=32, item={ITEM}}}',
    "model={hidden_size=8, depth=1, num_heads=2, num_classes=4, patchifier={patch_size=4}}",
    "train={max_steps=6, global_batch_size=8, micro_batch_size=2, lr=1e-2, log_every=1, checkpoint_every=3}",
    "train.lr_schedule=constant",
    "train.precision=fp32",
]


def run(folder: Path, out: str, *settings: str, procs: int = 2, code: int = 0) -> str:
    (folder / "spoilt.py").write_text(PLUGIN)
    changes = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    command = [sys.executable, "-m", "dit_toolkit", "run", str(ROOT / "recipes/fashion.toml"), "--plugin", "spoilt.py"]
    command += ["--out", out, "--stage", "train", "--procs", str(procs), *changes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == code, done.stderr
    return done.stderr


def report(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]


def test_both_skip_the_step_and_follow_the_curve_of_one_process(tmp_path):
    run(tmp_path, "two", 'train.non_finite="skip"', "train.backend.zero_stage=2")
    run(tmp_path, "one", 'train.non_finite="skip"', 'train.backend={kind="single"}', procs=1)
    for entry, alone in zip(report(tmp_path / "two"), report(tmp_path / "one"), strict=True):
        assert (entry["step"], entry["action"]) == (alone["step"], "skip")
        ranks = entry["ranks"]
        [guilty] = [rank for rank in ranks if ITEM in rank["indices"]]
        [other] = [rank for rank in ranks if rank is not guilty]
        assert [rank["rank"] for rank in ranks] == [0, 1]
        assert guilty["suspects"][0] == {"index": ITEM, "loss": "nan"}
        assert isinstance(other["loss"], float)
        assert ranks[0]["indices"] + ranks[1]["indices"] == alone["ranks"][0]["indices"]
    one, two = (
        load_file(checkpoint.newest(tmp_path / name / "checkpoints") / "ema.safetensors") for name in ("one", "two")
    )
    for key in one:
        assert two[key] == pytest.approx(one[key], abs=1e-5), key


def test_both_stop_and_it_is_said_once(tmp_path):
    told = run(tmp_path, "run", code=4)
    assert told.count("the loss is not finite") == 1
    assert "Traceback" not in told
    assert len(report(tmp_path / "run")) == 1
