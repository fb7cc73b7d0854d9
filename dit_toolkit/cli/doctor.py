"""`doctor`: whether this machine can train, and a recipe on it, and what to do where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dit_toolkit import launch
from dit_toolkit.cli.options import (
    FILE,
    NEW,
    json_option,
    load_any_with_options,
    plugin_options,
    procs_option,
    set_option,
)
from dit_toolkit.cli.shell import emit, emit_json, table
from dit_toolkit.doctor.examination import examine
from dit_toolkit.doctor.finding import Finding
from dit_toolkit.errors import DitToolkitError


@click.command()
@click.argument("recipe", type=FILE, required=False)
@set_option("train.checkpoint_keep=2")
@plugin_options
@click.option("--out", type=NEW, metavar="DIR", help="Run folder; runs/<name of the recipe> unless given.")
@procs_option
@click.option("--hostfile", type=FILE, help="Hostfile of the deepspeed launcher to check.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    recipe: Path | None,
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    out: Path | None,
    procs: int | None,
    hostfile: Path | None,
    as_json: bool,
) -> None:
    """Look at what stops trainings: versions, GPUs, locks, ports, limits, and room for RECIPE.

    Each line is ok, warn (it runs, but slower or at a risk) or fail, with what to do. Exit code 2 where one fails.
    """
    found = [*examine(hostfile), *(_room(recipe, changes, files, blocked, out, procs) if recipe else ())]
    emit_json([finding._asdict() for finding in found]) if as_json else emit(_text(found))
    if any(finding.state == "fail" for finding in found):
        ctx.exit(DitToolkitError.exit_code)


def _room(
    recipe: Path,
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    out: Path | None,
    procs: int | None,
) -> Sequence[Finding]:
    loaded = load_any_with_options(recipe, changes, files, blocked)
    count = launch.processes(procs)

    from dit_toolkit import distributed
    from dit_toolkit.doctor.room import room
    from dit_toolkit.flops import costs_of

    device = distributed.device()
    free = distributed.free_memory(device) // (count if device == "cpu" else 1)
    folder = out or Path("runs") / recipe.stem
    return list(room(loaded, folder, costs_of(loaded), count, free))


def _text(found: Sequence[Finding]) -> str:
    lines = table([[finding.state, finding.what, finding.seen] for finding in found]).splitlines()
    indent = " " * (2 + max(len(finding.state) for finding in found))
    return "\n".join(
        f"{line}\n{indent}-> {finding.advice}" if finding.advice else line
        for line, finding in zip(lines, found, strict=True)
    )
