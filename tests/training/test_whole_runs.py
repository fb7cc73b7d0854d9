"""Whole runs in processes of their own: resumed, killed, stopped, on two processes."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from dit_toolkit import checkpoint
from dit_toolkit.images import read_npz

RECIPE = """
[dataset]
kind = "fashion"
[model]
hidden_size = 16
depth = 2
num_heads = 2
num_classes = 10
[model.patchifier]
kind = "conv"
patch_size = 8
[train]
max_steps = 10
global_batch_size = 8
micro_batch_size = 2
lr = 1e-3
ema_decay = 0.9
ema_more = [0.2]
gradient_clipping = 1.0
log_every = 1
checkpoint_every = 3
"""

FAULT = '''
"""A tracker that sends a signal to its own process when a step is logged."""
import os
import signal

from attrs import frozen

from dit_toolkit import Tracker, hookimpl


@frozen(kw_only=True)
class Fault(Tracker):
    """Send a signal at a step."""

    kind = "fault"
    step: int
    signal: str

    def start(self, folder, recipe):
        pass

    def log(self, step, values):
        if step == self.step:
            os.kill(os.getpid(), getattr(signal, self.signal))


@hookimpl
def register_trackers():
    return [Fault]
'''

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "fault.py").write_text(FAULT)
    return tmp_path


def run(
    folder: Path, *arguments: str, out: str = "run", code: int = 0, stage: str = "train"
) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dit_toolkit", "run", "tiny.toml", "--out", out, "--stage", stage, *arguments]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def fault(step: int, signal: str) -> list[str]:
    return ["--plugin", "fault.py", "--set", f'train.trackers=[{{kind="fault", step={step}, signal="{signal}"}}]']


def weights(folder: Path, name: str) -> dict:
    return load_file(checkpoint.newest(folder / "checkpoints") / f"{name}.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    for name in ("ema", "ema-0.2", "raw", "optimizer"):
        first, second = weights(one, name), weights(other, name)
        assert first.keys() == second.keys()
        assert all((first[key] == second[key]).all() for key in first)


def losses(folder: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["images_seen"], line["loss"], line["grad_norm"], line["lr"]) for line in lines]


@pytest.mark.parametrize("options", [["--set", "train.backend.zero_stage=1"], ["--set", "train.backend.kind=single"]])
def test_a_killed_run_goes_on_bit_for_bit(folder, options):
    run(folder, *options, out="whole")
    waiting = ["--set", "train.checkpoint_async=false"]  # Else the one of step 6 might be under way yet.
    run(folder, *options, *waiting, *fault(8, "SIGKILL"), out="killed", code=-9)
    assert [p.name for p in checkpoint.checkpoints(folder / "killed/checkpoints")] == ["step-00000003", "step-00000006"]
    again = run(folder, *options, out="killed")
    assert "step-00000006" in again.stderr
    assert_same_weights(folder / "whole", folder / "killed")
    assert losses(folder / "whole") == losses(folder / "killed")
    assert [step for step, *_ in losses(folder / "whole")] == list(range(1, 11))
    finished = run(folder, *options, out="killed")
    assert "already trained for 10 steps" in finished.stderr


def test_a_signal_saves_and_ends_with_3(folder):
    run(folder, out="whole")
    stopped = run(folder, *fault(4, "SIGTERM"), out="stopped", code=3)
    assert "stopped at step" in stopped.stderr
    assert checkpoint.checkpoints(folder / "stopped/checkpoints")[-1].name in ("step-00000004", "step-00000005")
    run(folder, out="stopped")
    assert_same_weights(folder / "whole", folder / "stopped")


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_processes_follow_the_same_curve(folder, stage):
    run(folder, "--set", "train.backend.kind=single", out="one")
    run(folder, "--set", f"train.backend.zero_stage={stage}", "--procs", "2", out="two")
    one, two = losses(folder / "one"), losses(folder / "two")
    assert [line[:2] for line in one] == [line[:2] for line in two]
    for (*_, loss1, norm1, _), (*_, loss2, norm2, _) in zip(one, two, strict=True):
        assert loss1 == pytest.approx(loss2, rel=1e-5)
        assert norm1 == pytest.approx(norm2, rel=1e-4)
    for name in ("ema", "ema-0.2"):
        first, second = weights(folder / "one", name), weights(folder / "two", name)
        for key in first:
            assert first[key] == pytest.approx(second[key], abs=1e-5), (name, key)


def test_two_processes_resume_bit_for_bit_and_one_of_another_backend_follows(folder):
    options = ["--procs", "2", "--set", "train.backend.zero_stage=2"]
    run(folder, *options, out="whole")
    waiting = ["--set", "train.checkpoint_async=false"]
    run(folder, *options, *waiting, *fault(5, "SIGKILL"), out="killed", code=128 + 9)
    shutil.copytree(folder / "killed", folder / "alone")
    run(folder, *options, out="killed")
    assert_same_weights(folder / "whole", folder / "killed")
    alone = run(folder, "--set", "train.backend.kind=single", out="alone")
    assert "processes: 2 there, 1 here; the same images follow" in alone.stderr
    first, second = weights(folder / "whole", "ema"), weights(folder / "alone", "ema")
    for key in first:
        assert first[key] == pytest.approx(second[key], abs=1e-5), key


@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"],
        ["deepspeed.launcher.runner", "--num_accelerators", "2", "--master_port", "0", "--module"],
    ],
    ids=["torchrun", "deepspeed"],
)
def test_other_launchers_and_bf16(folder, launcher):
    """The same command under torchrun and deepspeed, in bf16, stays near the float32 curve."""
    run(folder, out="fp32")
    command = [sys.executable, "-m", *launcher, "dit_toolkit", "run", "tiny.toml", "--out", "bf16", "--stage", "train"]
    if "--master_port" in command:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            command[command.index("--master_port") + 1] = str(free.getsockname()[1])
    environment = {**os.environ, **ENVIRONMENT, "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [*command, "--set", "train.precision=bf16"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    for (*_, loss1, _, _), (*_, loss2, _, _) in zip(losses(folder / "fp32"), losses(folder / "bf16"), strict=True):
        assert loss1 == pytest.approx(loss2, rel=0.01)


def test_another_recipe_is_refused_and_fresh_takes_a_new_folder(folder):
    run(folder, "--set", "train.max_steps=2", out="run")
    before = {p: p.read_bytes() for p in (folder / "run").rglob("*") if p.is_file()}
    refused = run(folder, "--set", "train.lr=2e-3", "--set", "train.max_steps=2", code=2)
    assert "train.lr: 0.001 there, 0.002 here" in refused.stderr
    run(folder, "--set", "train.max_steps=2", "--fresh")
    assert (folder / "run-2/checkpoints/step-00000002").is_dir()
    assert {p: p.read_bytes() for p in before} == before
    run(folder, "--set", "train.max_steps=3", out="run")  # goes on in the newest
    assert (folder / "run-2/checkpoints/step-00000003").is_dir()


def test_a_damaged_checkpoint_is_named_and_passed_over(folder):
    run(folder)
    newest = folder / "run/checkpoints/step-00000010"
    data = bytearray((newest / "ema.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "ema.safetensors").write_bytes(data)
    again = run(folder)
    assert "step-00000010 is damaged: ema.safetensors has changed" in again.stderr
    assert "going on from step-00000009" in again.stderr
    assert not checkpoint.verify(newest)


def test_not_finite_ends_with_4_and_saves_nothing(folder):
    broken = run(
        folder,
        "--set",
        "train.lr=100.0",
        "--set",
        "train.gradient_clipping=0.0",
        "--set",
        "train.max_steps=400",
        "--set",
        "train.checkpoint_every=400",
        code=4,
    )
    assert "not finite; loss" in broken.stderr
    assert checkpoint.newest(folder / "run/checkpoints") is None


def test_a_batch_that_does_not_divide_is_refused_before_any_process_starts(folder):
    refused = run(folder, "--procs", "3", code=2)
    assert refused.stderr == "error: train.global_batch_size: 8 images cannot be split over 3 processes\n"
    assert not (folder / "run").exists()


def test_two_processes_draw_the_same_images(folder):
    options = ["--set", "sample.num_samples=21", "--set", "sample.batch_size=5", "--set", "sample.sampler.num_steps=3"]
    run(folder, *options, out="one")
    shutil.copytree(folder / "one", folder / "two")
    run(folder, *options, out="one", stage="sample")
    run(folder, *options, "--procs", "2", out="two", stage="sample")
    one, two = (read_npz(folder / name / "samples/step-00000010/samples.npz") for name in ("one", "two"))
    assert one.shape == two.shape == (21, 32, 32, 3)
    assert (one == two).all()
