"""Every shipped recipe, made wrong in hundreds of ways: always exit code 2 and the key's name, never a traceback."""

from pathlib import Path

import pytest
import recipe_fakes
import tomli
import tomli_w
from click.testing import CliRunner
from mutations import Mutation, mutations

from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.load import load_any_recipe
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.recipe.structure import structure, unstructure

RECIPES = sorted(Path(__file__).parents[2].glob("recipes/*.toml"))
PER_RUN = 1_500
"""Mutations tried in one run of the tests, shared by the recipes."""


def of(path: Path) -> list[Mutation]:
    """The mutations of a shipped recipe, with every default written out; another share of them for each recipe."""
    every = list(mutations(unstructure(load_any_recipe(path))))
    step = max(1, len(every) * len(RECIPES) // PER_RUN)
    return every[RECIPES.index(path) % step :: step]


def test_every_mutation_of_the_fake_recipe_is_refused_by_name(table):
    recipe = unstructure(structure(table))
    tried = list(mutations(recipe))
    assert len({mutation.name for mutation in tried}) == len(tried) >= 500
    for mutation in tried:
        with pytest.raises(RecipeError) as error:
            sizes(structure(tomli.loads(tomli_w.dumps(mutation.table))))
        assert mutation.key in str(error.value), mutation.name
        assert max(map(len, error.value.lines)) < 1_000, mutation.name


def test_the_mutator_leaves_the_recipe_as_it_is(fakes):
    table = tomli.loads(recipe_fakes.TOML)
    list(mutations(table))
    assert table == tomli.loads(recipe_fakes.TOML)


def test_the_shipped_recipes_are_mutated_in_at_least_500_ways():
    assert RECIPES
    assert sum(len({mutation.name for mutation in of(path)}) for path in RECIPES) >= 500


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_mutation_of_a_shipped_recipe_is_refused_by_name(path, tmp_path):
    from dit_toolkit.cli import cli

    wrong = tmp_path / "recipe.toml"
    assert of(path)
    for mutation in of(path):
        wrong.write_text(tomli_w.dumps(mutation.table))
        result = CliRunner().invoke(cli, ["check", str(wrong)])
        assert result.exit_code == 2, (mutation.name, result.output)
        assert mutation.key in result.output, (mutation.name, result.output)
        assert "Traceback" not in result.output, mutation.name
        assert result.exception is None or isinstance(result.exception, SystemExit), mutation.name
