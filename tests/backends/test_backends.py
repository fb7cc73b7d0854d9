import math
import warnings
from types import SimpleNamespace

import pytest
import torch

from dit_toolkit import distributed
from dit_toolkit.backends import zero
from dit_toolkit.backends.deepspeed import OWNED, DeepSpeed
from dit_toolkit.backends.single import Single
from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.schema import Train
from dit_toolkit.testing.inputs import seeded
from dit_toolkit.training.ema import EMA, averages


@pytest.mark.parametrize("key", OWNED)
def test_keys_of_the_toolkit_are_refused_with_the_option_to_use(key):
    first, _, second = key.partition(".")
    with pytest.raises(ValueError, match=f"'config' must not set '{key}', which belongs to train"):
        DeepSpeed(config={first: {second: 1} if second else 1})


def test_other_keys_pass_and_the_traps_are_set():
    config = DeepSpeed(
        zero_stage=2, config={"wall_clock_breakdown": True, "zero_optimization": {"round_robin_gradients": True}}
    )
    made = config._config("bf16", 0.0, 4, 2, "cpu")
    assert made["gradient_clipping"] == 0.0  # DeepSpeed's default is 1.0
    assert made["bf16"] == {"enabled": True, "check_grad_overflow": False}
    assert made["wall_clock_breakdown"] is True
    assert made["zero_optimization"]["round_robin_gradients"] is True
    assert made["zero_optimization"]["stage"] == 2
    assert made["zero_optimization"]["reduce_bucket_size"] == 1_000_000


def test_offload_is_an_option_that_fits_the_stage():
    for stage, offload, keys in (
        (1, "optimizer", {"offload_optimizer"}),
        (3, "all", {"offload_optimizer", "offload_param"}),
    ):
        zero = DeepSpeed(zero_stage=stage, offload=offload)._config("bf16", 0.0, 4, 2, "cuda")["zero_optimization"]
        assert {key for key in zero if key.startswith("offload")} == keys
        assert zero["offload_optimizer"] == {"device": "cpu", "pin_memory": True}
    for stage, offload in ((0, "optimizer"), (0, "all"), (1, "all"), (2, "all")):
        with pytest.raises(ValueError, match=f"offload '{offload}' needs zero_stage >= .*got {stage}"):
            DeepSpeed(zero_stage=stage, offload=offload)


def test_fp16_on_a_cpu_is_refused():
    model = torch.nn.Linear(2, 2)
    for backend in (DeepSpeed(), Single()):
        with pytest.raises(RecipeError, match=r"train.precision.*'bf16' or 'fp32'"):
            start(backend, model, precision="fp16")


def start(backend, model, precision="fp32", clipping=0.0, accumulation=1):
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return backend.start(
        model,
        optimizer,
        precision=precision,
        gradient_clipping=clipping,
        micro_batch_size=1,
        accumulation=accumulation,
        device="cpu",
    )


class Scalar(torch.nn.Module):
    """f(x) = w x with w = 1."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))

    def forward(self, x, t, y):
        return self.w.float() * x


def test_accumulation_clipping_and_rate_of_a_step():
    engine = start(Single(), Scalar(), clipping=1.0, accumulation=2)
    for x in (2.0, 4.0):
        engine.backward(engine(torch.tensor(x), None, None).sum())
    update = engine.step(0.25)
    assert update.grad_norm == pytest.approx(3.0)  # the mean of 2 and 4, before clipping
    assert float(engine.master()[0]) == pytest.approx(0.75)


def test_bf16_keeps_what_it_cannot_show():
    """A step of 1e-3 is lost in bf16 at 1, but not in the master weights."""
    engine = start(Single(), Scalar(), precision="bf16")
    for _ in range(3):
        engine.backward(engine(torch.tensor(1.0), None, None).sum())
        engine.step(1e-3)
    assert float(engine.master()[0]) == pytest.approx(0.997)
    assert engine.model.w.dtype == torch.bfloat16
    assert engine.state()["w"].dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backend", [Single(), *(DeepSpeed(zero_stage=stage) for stage in range(4))], ids=repr)
def test_a_bad_gradient_reaches_no_weight_and_no_moment(backend, precision, monkeypatch):
    """Not finite, or larger than allowed, the first step among them: afterwards all is as if it had not been."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    distributed.initialise()
    warnings.simplefilter("ignore")  # Of DeepSpeed's own; pytest sets the filters back.
    inputs = [(torch.full((1, 4), float(x)), largest) for x, largest in ((1, math.inf), (2, math.inf))]
    bad = [(torch.full((1, 4), math.nan), math.inf), (torch.full((1, 4), math.inf), math.inf), (torch.ones(1, 4), 1e-9)]
    ends = []
    for batches in (inputs, [*bad, inputs[0], *bad, inputs[1]]):
        with seeded():
            model = torch.nn.Linear(4, 3)
            engine = backend.start(
                Taking(model),
                torch.optim.AdamW(model.parameters(), lr=0.1),
                precision=precision,
                gradient_clipping=0.5,
                micro_batch_size=1,
                accumulation=1,
                device="cpu",
            )
        for x, largest in batches:
            engine.backward(engine(x, None, None).float().square().mean())
            update = engine.step(0.1, largest)
            assert update.applied == (largest == math.inf and bool(x.isfinite().all()))
            assert math.isfinite(update.grad_norm) == bool(x.isfinite().all())
        ends.append(engine.state())
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize(("options", "gradient"), [({}, 256), ({"data_types": {"grad_accum_dtype": "fp32"}}, 258)])
def test_gradients_of_micro_batches_add_up_in_the_type_asked_for(stage, options, gradient, monkeypatch):
    """256 + 1 + 1 is 256 in bf16; the norm is that of the sum, in the first step too."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    distributed.initialise()
    warnings.simplefilter("ignore")  # Of DeepSpeed's own; pytest sets the filters back.
    engine = start(DeepSpeed(zero_stage=stage, config=options), Scalar(), precision="bf16", accumulation=3)
    for step in (1, 2):
        for x in (3 * 256.0, 3.0, 3.0):
            engine.backward(engine(torch.tensor([x]), None, None).sum())
        update = engine.step(2.0**-10)
        assert update.grad_norm == pytest.approx(gradient)
        assert float(engine.state()["w"]) == pytest.approx(1 - step * gradient / 1024)


class Taking(torch.nn.Module):
    """A layer that takes x in its own type."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, t, y):
        return self.layer(x.to(self.layer.weight.dtype))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("ramp", [True, False])
def test_several_averages_follow_their_closed_forms(precision, ramp):
    """Ramped by min(d, (1 + n) / (10 + n)) or not, one update per step, in float32 also for bf16 weights."""
    engine = start(Single(), Scalar(), precision=precision)
    settings = Train(max_steps=20, global_batch_size=1, ema_decay=0.5, ema_more=[0.99, 0.0], ema_ramp=ramp)
    emas, weight, steps = averages(engine, settings), 1.0, 20
    assert list(emas) == ["ema", "ema-0.99", "ema-0.0"]
    expected = dict.fromkeys(emas, 1.0)
    for n in range(steps):
        engine.backward(engine(torch.tensor(1.0), None, None).sum())
        engine.step(1e-4)
        weight -= 1e-4
        for name, decay in zip(emas, (0.5, 0.99, 0.0), strict=True):
            emas[name].update(engine)
            decay = min(decay, (1 + n) / (10 + n)) if ramp else decay
            expected[name] = decay * expected[name] + (1 - decay) * weight
    for name, ema in emas.items():
        assert float(ema.shadow[0]) == pytest.approx(expected[name], abs=1e-6)
        with ema.applied(engine):
            assert float(engine.state()["w"]) == pytest.approx(expected[name], abs=1e-6)
    assert len({float(ema.shadow[0]) for ema in emas.values()}) == 3
    assert float(engine.state()["w"]) == pytest.approx(weight, abs=1e-6)


def test_an_average_of_weights_that_fall_in_a_line():
    """Without a ramp it lags d / (1 - d) (1 - d^k) steps behind: w_k = 1 - a k gives w_k + a d (1 - d^k) / (1 - d)."""
    engine = start(Single(), Scalar())
    ema, d, a, k = EMA(engine, 0.9, ramp=False), 0.9, 0.01, 30
    for _ in range(k):
        engine.backward(engine(torch.tensor(1.0), None, None).sum())
        engine.step(a)
        ema.update(engine)
    assert float(ema.shadow[0]) == pytest.approx(1 - a * k + a * d * (1 - d**k) / (1 - d), abs=1e-6)


def test_the_loss_scale_of_fp16_moves_between_stages():
    """Stage 0 keeps it in another object than the others, under the same names; a static scale is left alone."""
    first = SimpleNamespace(
        loss_scale_config=SimpleNamespace(dynamic_loss_scale=True, cur_scale=512.0, cur_iter=9, last_overflow_iter=3)
    )
    scaler = SimpleNamespace(dynamic=True, cur_scale=1.0, cur_iter=0, last_overflow_iter=-1, cur_hysteresis=2)
    found = zero.counters(first)
    assert found == {"cur_scale": 512.0, "cur_iter": 9, "last_overflow_iter": 3}
    zero.set_counters(SimpleNamespace(loss_scaler=scaler), found)
    assert (scaler.cur_scale, scaler.cur_iter, scaler.last_overflow_iter, scaler.cur_hysteresis) == (512.0, 9, 3, 2)
    static = SimpleNamespace(loss_scaler=SimpleNamespace(dynamic=False, cur_scale=1.0))
    zero.set_counters(static, found)
    assert zero.counters(static) == {}
    assert static.loss_scaler.cur_scale == 1.0
