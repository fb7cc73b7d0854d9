"""Training goes on bit for bit, on any number of processes, ZeRO stage and backend; its curves are plain PyTorch's."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dit_toolkit import checkpoint, load_recipe
from dit_toolkit.build import build_model
from dit_toolkit.optimizers import build_optimizer
from dit_toolkit.random import Generator, seed_torch
from dit_toolkit.training.data import open_data
from dit_toolkit.training.order import Order, drop_labels
from tests.training.jobs import do

LAYOUTS = [(f"zero{stage}-{precision}", stage, precision) for stage in range(4) for precision in ("fp32", "bf16")]
STEPS, HALF = 6, 3
KINDS = ("ema-0.5", "ema", "optimizer", "raw")


def setting(stage, precision="fp32", **train):
    kind = ["train.backend.kind=single"] if stage is None else [f"train.backend.zero_stage={stage}"]
    return [*kind, f"train.precision={precision}", *(f"train.{key}={value}" for key, value in train.items())]


def digests(run, step=STEPS):
    """SHA-256 of weights, average and optimizer state, as the manifest has them and the files hold."""
    path = run / f"checkpoints/step-{step:08d}"
    assert checkpoint.verify(path) == []
    return {name: digest for name, (_, digest) in checkpoint.read_manifest(path)["files"].items() if name[-1] == "s"}


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", params=[1, 2], ids=["1 process", "2 processes"])
def runs(request, tmp_path_factory):
    """Whole runs, and halves that new processes have continued, accumulating over 4 or 2 micro-batches; and others."""
    folder, processes = tmp_path_factory.mktemp("runs"), request.param
    whole = [{"do": "train", "out": name, "set": setting(stage, precision)} for name, stage, precision in LAYOUTS]
    rest = [{**job, "out": f"{job['out']}-half"} for job in whole]
    halves = [{**job, "set": [*job["set"], f"train.max_steps={HALF}"]} for job in rest]
    accumulating = [
        {
            "do": "train",
            "out": f"accumulate{stage}-{count}",
            "set": setting(stage, micro_batch_size=8 // processes // count, lr=1e-4),
        }
        for stage in range(4)
        for count in (1, 2, 4, 8)
        if count * processes <= 8
    ]
    do(folder, processes, whole + halves + accumulating)
    do(folder, processes, rest)
    return folder


@pytest.mark.parametrize("name", [name for name, *_ in LAYOUTS])
def test_a_resumed_run_has_the_same_hashes(runs, name):
    assert sorted(digests(runs / name)) == [f"{kind}.safetensors" for kind in KINDS]
    assert digests(runs / f"{name}-half") == digests(runs / name)
    assert losses(runs / f"{name}-half") == losses(runs / name)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def plain(request, tmp_path_factory):
    """The losses of a loop of plain PyTorch, two images at a time, and its weights: (precision, losses, state)."""
    from tests.training.jobs import RECIPE

    path = tmp_path_factory.mktemp("plain") / "tiny.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(path)
    data, _ = open_data(recipe, "train", "cpu")
    order, settings = Order(recipe.seed, len(data)), recipe.train
    torch.manual_seed(recipe.seed)
    masters = build_model(recipe)
    optimizer = build_optimizer(masters, settings.optimizer)
    for group in optimizer.param_groups:
        group["lr"] = settings.lr
    model = build_model(recipe).to({"fp32": torch.float32, "bf16": torch.bfloat16}[request.param])
    curve = []
    for step in range(STEPS):
        model.load_state_dict(masters.state_dict())
        model.zero_grad()
        total = 0.0
        for start in range(step * 8, step * 8 + 8, 2):
            positions = np.arange(start, start + 2)
            generator = Generator(recipe.seed, "train", positions, "cpu")
            x, y = data.batch(order[positions], generator)
            y = drop_labels(y, recipe.model.class_dropout_prob, recipe.model.num_classes, generator)
            seed_torch(recipe.seed, start)
            loss = recipe.objective.loss(model, x, y, generator=generator).mean() / 4
            loss.backward()
            total += float(loss.detach())
        for master, param in zip(masters.parameters(), model.parameters(), strict=True):
            master.grad = param.grad.float()
        torch.nn.utils.clip_grad_norm_(masters.parameters(), settings.gradient_clipping)
        optimizer.step()
        curve.append(total)
    return request.param, curve, masters.state_dict()


@pytest.mark.parametrize("stage", range(4))
def test_curves_are_those_of_plain_pytorch(runs, plain, stage):
    precision, expected, weights = plain
    run = runs / f"zero{stage}-{precision}"
    assert losses(run) == pytest.approx(expected, rel=1e-5 if precision == "fp32" else 5e-3)
    raw = load_file(run / f"checkpoints/step-{STEPS:08d}/raw.safetensors")
    for name, value in raw.items():
        assert torch.allclose(value, weights[name], atol=1e-5 if precision == "fp32" else 5e-3), name


def test_2_processes_1_and_4_hold_the_same(tmp_path):
    """Weights, average and both moments are equal bit for bit in every layout, and go on with the same images."""
    do(
        tmp_path,
        2,
        [{"do": "train", "out": "two", "set": setting(2)}, {"do": "train", "out": "bf", "set": setting(1, "bf16")}],
    )
    chain = [
        (1, "two", "one", setting(None)),
        (4, "one", "four", setting(3)),
        (2, "four", "again", setting(0)),
        (4, "again", "back", setting(1)),
    ]
    for processes, source, out, changes in chain:
        do(tmp_path, processes, [{"do": "convert", "out": out, "source": source, "set": changes}])
        assert digests(tmp_path / out) == digests(tmp_path / "two"), (source, out)
    for processes, out, changes in ((4, "bf-four", setting(3, "bf16")), (1, "bf-one", setting(None, "bf16"))):
        do(tmp_path, processes, [{"do": "convert", "out": out, "source": "bf", "set": changes}])
        assert digests(tmp_path / out) == digests(tmp_path / "bf"), out


def test_going_on_elsewhere_follows_the_curve(tmp_path):
    """3 steps on 2 processes, 3 on one of another backend, 3 on 4: the losses are those of 9 steps on one."""
    do(tmp_path, 1, [{"do": "train", "out": "whole", "set": setting(None, max_steps=9)}])
    for processes, changes in (
        (2, setting(3, max_steps=3)),
        (1, setting(None, max_steps=6)),
        (4, setting(1, max_steps=9)),
    ):
        do(tmp_path, processes, [{"do": "train", "out": "moved", "set": changes}])
    assert losses(tmp_path / "moved") == pytest.approx(losses(tmp_path / "whole"), rel=1e-6)


@pytest.mark.parametrize("stage", range(4))
def test_accumulation_is_the_big_batch(runs, stage):
    """1, 2, 4 and 8 micro-batches (up to 4 on two processes) give the same weights within 1e-6."""
    found = sorted(runs.glob(f"accumulate{stage}-*"))
    assert len(found) in (3, 4)
    big, *others = (load_file(path / f"checkpoints/step-{STEPS:08d}/raw.safetensors") for path in found)
    for other in others:
        for name, value in big.items():
            assert torch.allclose(value, other[name], rtol=0, atol=1e-6), name
