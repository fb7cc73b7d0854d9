from __future__ import annotations

import errno
import subprocess
import sys
import time

import pytest

from dit_toolkit import __version__, errors
from dit_toolkit.cli.shell import table


@pytest.fixture
def failing(recipe, fake):
    """Make `show` fail with an error."""

    def fail_with(error: BaseException):
        def load_recipe(*_args, **_options):
            raise error

        fake("recipe.load", load_any_recipe=load_recipe, dumps=None)
        return recipe

    return fail_with


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError("model.depth: must be >= 1", "train: missing"), 2),
        (errors.DataError("x"), 2),
        (errors.CheckpointError("x"), 2),
        (errors.NonFiniteError("x"), 4),
        (errors.StorageError("x"), 5),
        (errors.PluginError("x"), 6),
    ],
)
def test_errors_are_lines_with_an_exit_code(invoke, failing, error, code):
    result = invoke("show", failing(error))
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.splitlines()[-len(error.lines) :] == [f"error: {line}" for line in error.lines]
    assert "Traceback" not in result.stderr


def test_a_run_that_was_stopped_is_no_error(invoke, failing):
    result = invoke("show", failing(errors.Interrupted("stopped at step 100")))
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == "stopped at step 100"


def test_unexpected_errors_are_short(invoke, failing):
    result = invoke("show", failing(ZeroDivisionError("division\nby zero")))
    assert result.exit_code == 1
    assert "error: unexpected ZeroDivisionError: division\nuse --traceback" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_or_locked_disk(invoke, failing, number):
    result = invoke("show", failing(OSError(number, "reason", "file")))
    assert result.exit_code == 5
    assert "error: file: reason" in result.stderr


def test_ctrl_c(invoke, failing):
    result = invoke("show", failing(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "error: interrupted"


@pytest.mark.parametrize("error", [errors.DataError("x"), ZeroDivisionError("x")])
@pytest.mark.parametrize("before", [True, False])
def test_traceback_before_and_after_the_command(invoke, failing, error, before):
    path = failing(error)
    result = invoke("--traceback", "show", path) if before else invoke("show", path, "--traceback")
    assert "Traceback (most recent call last)" in result.stderr
    assert result.exit_code in (1, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "Missing argument 'RECIPE'"),
        (["shwo"], "No such command 'shwo'"),
        (["show", "nowhere.toml"], "'nowhere.toml' does not exist"),
        (["run", "nowhere.toml", "--procs", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_words(invoke, words, message):
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "see 'dit-toolkit" in result.stderr


def test_other_ranks_say_only_what_rank_0_may_not_know(invoke, failing, monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    result = invoke("show", failing(errors.StorageError("disk full", "more")))
    assert (result.exit_code, result.stderr) == (5, "error: [rank 3] disk full\n")
    result = invoke("show", failing(errors.RecipeError("x")))
    assert (result.exit_code, result.output) == (2, "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(invoke, option):
    result = invoke(option)
    assert result.exit_code == 0
    assert [result.stdout.index(f"\n  {name} ") for name in ("run", "check", "show", "sample", "plugins")]
    assert invoke("run", option).exit_code == 0


def test_no_command_shows_the_help(invoke):
    result = invoke()
    assert result.exit_code == 0
    assert "Commands:" in result.stdout


def test_version(invoke):
    assert invoke("--version").stdout == f"dit-toolkit {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"], ["sample", "--help"]])
def test_help_does_not_import_torch(words):
    script = f"""
import sys
from dit_toolkit.__main__ import main
sys.argv[1:] = {words!r}
try:
    main()
finally:
    assert not {{"torch", "numpy", "rich", "deepspeed"}} & set(sys.modules)
"""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    print(f"{' '.join(words)}: {time.perf_counter() - began:.2f} s")


def test_table():
    rows = [["name", "GMACs"], ["attention", "1.5"], ["mlp", "1,000.25"]]
    assert table(rows) == "name       GMACs\nattention  1.5\nmlp        1,000.25"
    assert table(rows, numbers=True) == "name          GMACs\nattention       1.5\nmlp        1,000.25"
