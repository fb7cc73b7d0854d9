"""What every command shares: errors as `error:` lines with an exit code, -h, --traceback, and printing from rank 0."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from dit_toolkit.errors import (
    DitToolkitError,
    Interrupted,
    MissingDataError,
    OutOfMemory,
    RecipeError,
    StorageError,
    out_of_memory,
)
from dit_toolkit.progress import is_main

INTERRUPTED = 130
_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class Shell(click.Group):
    """A group of commands whose errors are lines on stderr; `--traceback`, before or after the command, shows more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, context_settings={"help_option_names": ["-h", "--help"]})
        self.params.append(_traceback_option())
        # The deepspeed launcher adds it; LOCAL_RANK says the same.
        self.params.append(click.Option(["--local_rank"], type=int, hidden=True, expose_value=False))

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command and give it --traceback."""
        if not isinstance(cmd, Shell):
            cmd.params.append(_traceback_option())
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands in the order in which they were added."""
        return list(self.commands)

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command line and exit; the words given are the context's `obj`."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, **{**extra, "standalone_mode": False, "obj": words})
        except (Exception, click.Abort) as error:
            asked = "--traceback" in words and not isinstance(error, click.exceptions.ClickException | click.Abort)
            if asked or (_several() and _unexpected(error)):  # Of many processes, for weeks: it may not come again.
                traceback.print_exc()
            code = report(error)
        code = code if isinstance(code, int) else 0
        if distributed := sys.modules.get("dit_toolkit.distributed"):  # Only where torch was needed.
            distributed.leave(code)
        sys.exit(code)


def _traceback_option() -> click.Option:
    return click.Option(
        ["--traceback"], is_flag=True, expose_value=False, help="Show the Python traceback of an error."
    )


def report(error: BaseException) -> int:
    """Write an error to stderr and return its exit code.

    Ranks other than 0 keep still about what rank 0 says too, and put their number in front of everything else.
    """
    code, lines, hint = _describe(error)
    if getattr(error, "told", False):
        return code
    if is_main():
        mark = "" if isinstance(error, Interrupted) else "error: "
        for line in [*(mark + line for line in lines), *hint]:
            click.echo(line, err=True)
    elif not isinstance(error, RecipeError | Interrupted | click.ClickException | click.Abort):
        click.echo(f"error: [rank {os.environ['RANK']}] {lines[0]}", err=True)
    return code


def _describe(error: BaseException) -> tuple[int, list[str], list[str]]:
    """Exit code, error lines and advice."""
    if isinstance(error, click.Abort):
        return INTERRUPTED, ["interrupted"], []
    if isinstance(error, click.UsageError) and error.ctx:
        return error.exit_code, [error.format_message()], [f"see '{error.ctx.command_path} -h'"]
    if isinstance(error, click.ClickException):
        return error.exit_code, [error.format_message()], []
    if isinstance(error, MissingDataError):
        return error.exit_code, [error.line], [f"  {command}" for command in error.commands]
    if isinstance(error, DitToolkitError):
        return error.exit_code, str(error).splitlines() or [type(error).__name__], []
    if out_of_memory(error):
        advice = "a smaller batch needs less: train.micro_batch_size, sample.batch_size or --batch-size"
        return OutOfMemory.exit_code, [f"out of memory: {(str(error).splitlines() or [''])[0]}"], [f"  {advice}"]
    if isinstance(error, OSError) and error.errno in _STORAGE:
        return StorageError.exit_code, [f"{error.filename or 'the disk'}: {error.strerror}"], []
    first = (str(error).splitlines() or ["no message"])[0]
    if _several() and _lost(error):
        return 1, [f"another process has ended or does not answer ({first})"], []
    advice = "use --traceback to see where; if it looks like our fault, please open an issue with that output"
    return 1, [f"unexpected {type(error).__name__}: {first}"], [advice]


def _several() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _unexpected(error: BaseException) -> bool:
    """Whether an error is none that a user can cause, and its cause in this process."""
    return _describe(error)[0] == 1 and not _lost(error)


def _lost(error: BaseException) -> bool:
    """Whether a collective failed for the sake of another process."""
    text = str(error)
    return type(error).__name__.startswith("Dist") or (
        isinstance(error, RuntimeError) and any(sign in text for sign in ("gloo/transport", "NCCL", "[Gloo]"))
    )


def emit(text: str) -> None:
    """Print a result to stdout, on rank 0."""
    if is_main():
        click.echo(text)


def emit_json(value: object) -> None:
    """Print a result as JSON."""
    emit(json.dumps(value, indent=2))


def table(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Lay out rows in columns, to the left; with `numbers` all but the first column to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [
            cell.rjust(width) if numbers else cell.ljust(width) for cell, width in zip(rest, widths[1:], strict=True)
        ]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def amount(number: float) -> str:
    """Write a number with at least three digits."""
    return f"{number:,.3f}" if number >= 1 else f"{number:#.3g}"


def times(sides: Sequence[int]) -> str:
    """Write a shape: 3 x 32 x 32."""
    return " x ".join(map(str, sides))
