"""The JSON schema of recipes, with the jsonschema library as the judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli
from jsonschema import Draft202012Validator
from mutations import mutations

from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.jsonschema import json_schema
from dit_toolkit.recipe.load import load_any_recipe, load_recipe, override, read
from dit_toolkit.recipe.structure import structure, unstructure
from dit_toolkit.registry import Registry, use

RECIPES = sorted(Path(__file__).parents[2].glob("recipes/*.toml"))
PLUGIN = '''
from typing import Literal
from attrs import field, frozen
from attrs.validators import ge, in_, max_len, min_len
from dit_toolkit import Sampler, hookimpl

@frozen(kw_only=True)
class Table:
    """A table of its own."""
    depth: int

@frozen(kw_only=True)
class Mine(Sampler):
    """A sampler
    of two lines."""
    kind = "mine"
    num_steps: int = field(default=5, validator=ge(2))
    """How many
    steps."""
    mode: Literal["a", "b"]
    name: str = field(default="x", validator=[min_len(1), max_len(3)])
    order: int = field(default=1, validator=in_([1, 2]))
    table: Table | None = None
    pair: tuple[int, str] = (1, "a")
    inner: Sampler | None = None
    weights: dict[str, float] = field(factory=dict)
    def sample(self, denoiser, noise, *, generator=None): ...

@hookimpl
def register_samplers():
    return [Mine]
'''


def validator():
    schema = json.loads(json.dumps(json_schema()))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture
def valid():
    with use(Registry(discover=False)):
        return validator().is_valid


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_as_a_file_merged_and_resolved(valid, path):
    file = tomli.loads(path.read_text())
    assert valid(file)
    assert valid({**file, "plugins": ["my_sampler.py"]})
    assert valid({**file, "extends": "other.toml"})
    assert valid(read(path))
    assert valid(unstructure(load_any_recipe(path)))


UNSEEN = ("= nan", "dataset: image_size = -1099511627776", "patch_size = -1099511627776", "patch_size = 3")
"""Ends of the mutations that a schema cannot see: JSON has no nan, and a validator may be a function."""


def missed(tried, valid):
    return [mutation.name for mutation in tried if not mutation.name.endswith(UNSEEN) and valid(mutation.table)]


def test_every_mutation_of_the_fake_recipe_is_refused(fakes, table):
    tried = list(mutations(unstructure(structure(table))))
    assert len(tried) >= 500
    assert missed(tried, validator().is_valid) == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_mutation_of_a_shipped_recipe_is_refused(valid, path):
    assert missed(list(mutations(unstructure(load_any_recipe(path))))[::5], valid) == []


@pytest.mark.parametrize(
    "change",
    ["model.depth=4.0", "train.lr=nan", "model.num_heads=3", "model.num_classes=9", "train.backend.config.fp16={}"],
    ids=[
        "a whole float for an int",
        "nan",
        "a rule across options",
        "a rule across components",
        "a rule in a function",
    ],
)
def test_what_a_schema_cannot_see(valid, change):
    assert valid(override(read(RECIPES[0]), [change]))
    with pytest.raises(RecipeError):
        load_recipe(RECIPES[0], set=[change])


def test_a_recipe_that_extends_another_may_leave_out_anything_but_not_be_wrong(valid):
    base = {"extends": "fashion.toml"}
    assert valid(base)
    assert valid({**base, "sample": {"sampler": {"num_steps": 20}}})
    assert valid({**base, "model": {"block": {"kind": "adaln-zero"}}})
    assert not valid({**base, "model": {"depth": 0}})
    assert not valid({**base, "modle": {}})
    assert not valid({**base, "sample": {"sampler": {"kind": "heun", "eta": 0.5}}})
    assert not valid({"extends": 3})
    assert not valid({})


def test_a_table_without_a_kind_has_the_options_of_the_default_component(valid):
    recipe = tomli.loads((RECIPES[0].parent / "fashion.toml").read_text())
    assert valid({**recipe, "sample": {"sampler": {"variance": "fixed-small"}}})
    assert not valid({**recipe, "sample": {"sampler": {"eta": 0.5}}})
    assert not valid({**recipe, "dataset": {"flip": True}})


@pytest.fixture
def mine(tmp_path):
    """A recipe that names a plugin file, and the validator of its schema."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'extends = "{RECIPES[0].parent / "fashion.toml"}"\nplugins = ["mine.py"]\n')
    return recipe


def test_the_options_of_a_plugin(mine):
    from dit_toolkit.recipe.load import load_named_plugins

    with use(Registry(discover=False)):
        load_named_plugins(mine)
        judge = validator()
    written = judge.schema["$defs"]["samplers.mine"]
    assert written["description"] == "A sampler\nof two lines."
    assert written["required"] == ["kind", "mode"]
    assert written["properties"]["num_steps"]["description"] == "How many steps."
    assert (written["properties"]["num_steps"]["default"], written["properties"]["num_steps"]["minimum"]) == (5, 2)

    def valid(**options):
        table = {"extends": "x", "sample": {"sampler": {"kind": "mine", **options}}}
        return judge.is_valid(table)

    assert valid(num_steps=2, mode="a", name="xyz", order=2, table={"depth": 1}, pair=[3, "b"], weights={"a": 1.5})
    assert valid(inner={"kind": "mine", "mode": "b"})
    wrong = {
        "num_steps": [1, "2", 2.5],
        "mode": ["c", 1],
        "name": ["", "long"],
        "order": [3],
        "table": [{"depth": "1"}, {"width": 1}, 3],
        "pair": [[1], [1, 2], [1, "a", 3]],
        "inner": [{"kind": "nothing"}, "mine"],
        "weights": [{"a": "b"}, []],
        "modes": ["a"],
    }
    assert [(name, value) for name, values in wrong.items() for value in values if valid(**{name: value})] == []


def test_the_command_writes_the_schema_of_a_recipe(mine):
    from click.testing import CliRunner

    from dit_toolkit.cli import cli

    with use(Registry(discover=False)):
        plain = CliRunner().invoke(cli, ["schema"])
        assert "samplers.mine" not in json.loads(plain.stdout)["$defs"]
        named = CliRunner().invoke(cli, ["schema", str(mine)])
        assert "samplers.mine" in json.loads(named.stdout)["$defs"]
        (mine.parent / "mine.py").unlink()
    with use(Registry(discover=False)):
        missing = CliRunner().invoke(cli, ["schema", str(mine)])
        assert missing.exit_code == 2
        assert "plugins[0]: plugin file" in missing.stderr
