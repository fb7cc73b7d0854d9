import pytest
import recipe_fakes
import tomli

from dit_toolkit.registry import Registry, use


@pytest.fixture
def fakes():
    """A registry of fake components only, active for the test."""
    with use(Registry(builtins=["recipe_fakes"], discover=False)) as registry:
        yield registry


@pytest.fixture
def table(fakes):
    """The fake recipe as TOML tables."""
    return tomli.loads(recipe_fakes.TOML)
