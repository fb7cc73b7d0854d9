"""`--patch 2 4 8`: several values after one flag."""

import click
import pytest
from click.testing import CliRunner

from dit_toolkit.cli.several import Size, Spread, several_option


@click.command(cls=Spread)
@click.argument("name")
@several_option("--size", type=Size(), help="Sizes.")
@several_option("--number", type=click.INT, help="Numbers.")
@click.option("--set", "changes", multiple=True)
@click.option("--json", is_flag=True)
def command(**values):
    click.echo(values)


def run(line):
    return CliRunner().invoke(command, line.split())


@pytest.mark.parametrize(
    ("line", "sizes", "numbers"),
    [
        ("r", (), ()),
        ("r --size 2", (2,), ()),
        ("r --size 2 4 8", (2, 4, 8), ()),
        ("--size 2 4 8 r", (2, 4, 8), ()),
        ("r --size=2 4x2", (2, (4, 2)), ()),
        ("r --size 2 --size 4 8", (2, 4, 8), ()),
        ("r --size 2 4 --number -1 3 --json", (2, 4), (-1, 3)),
        ("--number 5 --size 2 4 -- r", (2, 4), (5,)),
        ("--size 2 --set 4 r", (2,), ()),
    ],
)
def test_values_until_something_else(line, sizes, numbers):
    result = run(line)
    assert result.exit_code == 0, result.output
    values = eval(result.output)
    assert (values["name"], values["size"], values["number"]) == ("r", sizes, numbers)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("r --size", "Option '--size' requires an argument"),
        ("r --size two", "Invalid value for '--size': 'two' is no size such as 8 or 4x2."),
        ("r --size 0", "'0' is no size"),
        ("r --size 4x2x1", "'4x2x1' is no size"),
        ("r --size 2 two", "unexpected extra argument (two)"),
        ("--size 2 4", "Missing argument 'NAME'"),
    ],
)
def test_bad_values(line, message):
    result = run(line)
    assert result.exit_code == 2
    assert message in result.output
