from contextlib import suppress
from enum import Enum
from typing import Any

import attrs
import pytest
from attrs import field, frozen
from attrs.validators import in_, min_len
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe_fakes import DDPM, AdaLNZero, Conv, DDIMSampler, Pictures

from dit_toolkit.components import Sampler
from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.schema import Model, Recipe, Sample, Train
from dit_toolkit.recipe.structure import structure, unstructure
from dit_toolkit.registry import Registry, use


class Color(Enum):
    RED = "red"


@frozen(kw_only=True)
class Options:
    number: int = 1
    real: float = 1.0
    flag: bool = False
    text: str = ""
    size: int | tuple[int, int] = 1
    maybe: int | None = None
    many: list[int] = field(factory=list)
    any_length: tuple[float, ...] = ()
    free: dict[str, Any] = field(factory=dict)
    counts: dict[str, int] = field(factory=dict)
    color: Color = Color.RED
    choice: str = field(default="a", validator=in_(["a", "b"]))
    named: list[str] = field(default=["x"], validator=min_len(1))
    low: int = 0
    computed: "Nowhere" = field(init=False, default=None)  # noqa: F821
    high: int = field(default=9)

    @high.validator
    def _above_low(self, attribute, value):
        if value < self.low:
            raise ValueError(f"high ({value}) is below low ({self.low})")


def faults(data, into=Recipe):
    with pytest.raises(RecipeError) as error:
        structure(data, into)
    return list(error.value.lines)


def test_a_recipe_becomes_the_classes_of_its_kinds(table):
    recipe = structure(table)
    assert recipe.dataset == Pictures(image_size=32)
    assert recipe.model.patchifier == Conv(patch_size=(4, 2))
    assert recipe.sample.sampler == DDIMSampler(num_steps=50)
    assert [type(metric).kind for metric in recipe.evaluate.metrics] == ["accuracy", "distance"]
    assert recipe.train.backend.config == {"zero_optimization": {"reduce_bucket_size": 1_000_000}}


def test_a_recipe_survives_the_round_trip(table):
    recipe = structure(table)
    assert structure(unstructure(recipe)) == recipe


def test_output_has_every_default_and_no_none_in_the_order_of_the_schema(table):
    out = unstructure(structure(table))
    assert list(out) == [option.name for option in attrs.fields(Recipe)]
    assert list(out["model"]["block"]) == ["kind", "mlp_ratio"]
    assert out["train"]["optimizer"]["betas"] == [0.9, 0.999]
    assert "cfg_channels" not in out["sample"]


def test_defaults_come_from_the_registry(fakes):
    model = structure({"hidden_size": 8, "depth": 1, "num_heads": 2, "num_classes": 3}, Model)
    assert (model.patchifier, model.block) == (Conv(), AdaLNZero())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("number", "12", "expected int, got str '12'"),
        ("number", 1.0, "expected int, got float 1.0"),
        ("number", True, "expected int, got bool true"),
        ("number", 2**63, "expected int, got int of 64 bits, beyond 64"),
        ("number", None, "expected int, got NoneType None"),
        ("number", {"x": 1}, "expected int, got a table with x"),
        ("real", "1", "expected float, got str '1'"),
        ("real", True, "expected float, got bool true"),
        ("real", float("nan"), "expected a finite float, got nan"),
        ("real", float("-inf"), "expected a finite float, got -inf"),
        ("real", 10**400, "expected float, got int of 1329 bits, beyond 64"),
        ("flag", "false", "expected bool, got str 'false'"),
        ("flag", 0, "expected bool, got int 0"),
        ("text", 3, "expected str, got int 3"),
        ("size", "2", "expected int or [int, int], got str '2'"),
        ("size", [1, 2, 3], "expected int or [int, int], got 3 values [1, 2, 3]"),
        ("size[1]", [1, "2"], "expected int, got str '2'"),
        ("maybe", "1", "expected int, got str '1'"),
        ("many", "123", "expected [int, ...], got str '123'"),
        ("many[2]", [1, 2, "3"], "expected int, got str '3'"),
        ("any_length[0]", ["1"], "expected float, got str '1'"),
        ("free", [1], "expected a table, got 1 value [1]"),
        ("counts.a", {"a": "1"}, "expected int, got str '1'"),
        ("counts.'a b'", {"a b": "1"}, "expected int, got str '1'"),
        ("color", "blue", "'blue' is not a valid Color"),
        ("choice", "c", "must be in ['a', 'b'] (got 'c')"),
        ("named", [], "Length of 'named' must be >= 1: 0"),
        ("high", -1, "high (-1) is below low (0)"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_seen_and_what_is_right(key, value, message):
    assert faults({key.split("[")[0].split(".")[0]: value}, Options) == [f"{key}: {message}"]


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("real", 2, 2.0),
        ("size", [1, 2], (1, 2)),
        ("size", 3, 3),
        ("any_length", [1, 2.5], (1.0, 2.5)),
        ("free", {"a": [1, {"b": 1.5}]}, {"a": [1, {"b": 1.5}]}),
        ("color", "red", Color.RED),
    ],
)
def test_a_right_value_gets_its_type(key, value, result):
    made = getattr(structure({key: value}, Options), key)
    assert (made, type(made)) == (result, type(result))


def test_everything_wrong_is_reported_at_once(table):
    model, train, sample = table["model"], table["train"], table["sample"]
    model |= {"depht": 3, "depth": 0, "num_heads": "4", "num_classes": 0}
    table["trian"] = {}
    table["objective"] = "ddpm"
    del table["dataset"]["kind"], train["max_steps"]
    train |= {"precision": "fp61", "optimizer": {"betas": [0.9]}}
    sample["sampler"]["kind"] = "ddin"
    table["evaluate"]["metrics"][1]["x"] = 1
    assert sorted(faults(table)) == sorted(
        [
            "unknown key 'trian'; did you mean 'train'?",
            "dataset.kind: missing; available: pictures",
            "model: unknown key 'depht'; did you mean 'depth'?",
            "model.depth: must be >= 1, got 0",
            "model.num_heads: expected int, got str '4'",
            "model.num_classes: must be >= 1, got 0",
            "objective: expected a table with the objective's kind, got str 'ddpm'; write { kind = \"ddpm\" }",
            "train.max_steps: missing; expected int",
            "train.precision: expected one of 'fp32', 'bf16', 'fp16', got str 'fp61'; did you mean 'fp16'?",
            "train.optimizer.betas: expected [float, float], got 1 value [0.9]",
            "sample.sampler.kind: unknown sampler 'ddin'; did you mean 'ddim'? available: ddim, ddpm",
            "evaluate.metrics[1]: unknown key 'x'; known keys: features",
        ]
    )


def test_a_rule_across_options_names_the_option_it_starts_with(table):
    table["model"]["num_heads"] = 5
    table["sample"]["labels"] = []
    assert faults(table) == [
        "model.hidden_size: hidden_size (64) is not divisible by num_heads (5)",
        "sample.labels: labels is empty; name at least one class or leave it out for all of them",
    ]


@pytest.mark.parametrize("kind", [3, True, ["ddim"], {}])
def test_a_kind_is_a_string(table, kind):
    table["sample"]["sampler"]["kind"] = kind
    [line] = faults(table)
    assert line.startswith("sample.sampler.kind: expected str, got ")


def test_an_option_of_another_kind_is_unknown(table):
    table["sample"]["sampler"] = {"kind": "ddpm", "eta": 0.5}
    assert faults(table) == ["sample.sampler: unknown key 'eta'; known keys: num_steps"]


def test_an_option_that_belongs_one_table_below_is_told_where(table):
    """As `weight_decay` and `betas` of recipes and runs from before there was [train.optimizer]."""
    table["train"] |= {"weight_decay": 0.1, "betas": [0.9, 0.99]}
    assert faults(table) == [
        "train: unknown key 'weight_decay'; did you mean 'optimizer.weight_decay'?",
        "train: unknown key 'betas'; did you mean 'optimizer.betas'?",
    ]


def test_a_component_may_be_structured_alone(fakes):
    assert structure({"kind": "ddim", "eta": 1}, Sampler) == DDIMSampler(eta=1.0)
    assert unstructure(DDIMSampler(eta=1.0)) == {"kind": "ddim", "num_steps": 250, "eta": 1.0}


def test_a_default_kind_that_nobody_offers_is_an_error_of_its_table(fakes):
    fakes.block("builtin")
    [line] = faults({"hidden_size": 8, "depth": 1, "num_heads": 2, "num_classes": 3}, Model)
    assert line.startswith("unknown patchifier 'conv'; available: none; note: plugin 'builtin' (dit-toolkit ")
    assert line.endswith(") is switched off")


def test_what_is_computed_is_no_option():
    assert faults({"computed": 1}, Options)[0].startswith("unknown key 'computed'")
    assert "computed" not in unstructure(Options())


def test_long_values_are_shortened(table):
    table["model"]["depth"] = "x" * 100_000
    table["y" * 100_000] = 1
    table["train"]["optimizer"] = {"betas": list(range(100_000))}
    assert max(map(len, faults(table))) < 400


@pytest.mark.parametrize("data", [None, 3, "x", [], [{}]])
def test_what_is_no_table_is_refused(data):
    [line] = faults(data)
    assert line.startswith("expected a table, got ")


json = st.recursive(
    st.sampled_from([None, True, -1, 0, 3, 2**70, 0.5, float("nan"), "", "bf16", "deepspeed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "x"]), inner),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([option.name for option in attrs.fields(Train)]), json, max_size=6))
def test_no_input_causes_anything_but_a_recipe_error(table):
    with use(Registry(builtins=["recipe_fakes"], discover=False)), suppress(RecipeError):
        structure(table, Train)


def test_a_recipe_built_in_python_is_one_read_from_toml(table):
    recipe = structure(table)
    sample = Sample(labels=[0, 9], cfg_scale=1.5, sampler=DDIMSampler(num_steps=50))
    assert attrs.evolve(recipe, sample=sample, objective=DDPM()) == recipe
