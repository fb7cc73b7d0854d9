"""The command line: one file per group of commands, each a thin layer over a function of the package.

Nothing here imports torch before a command needs it. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import click

from dit_toolkit import __version__, launch
from dit_toolkit.cli.compare import compare
from dit_toolkit.cli.data import encode, inspect, prepare, verify
from dit_toolkit.cli.doctor import doctor
from dit_toolkit.cli.evaluate import evaluate, reference
from dit_toolkit.cli.exchange import export, import_
from dit_toolkit.cli.flops import flops
from dit_toolkit.cli.grid import grid
from dit_toolkit.cli.plugins import plugins
from dit_toolkit.cli.recipe import check, schema, show
from dit_toolkit.cli.run import run
from dit_toolkit.cli.sample import sample
from dit_toolkit.cli.shell import Shell, emit


@click.group(cls=Shell, invoke_without_command=True)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train, sample and evaluate Diffusion Transformers from one recipe.

    Exit codes: 0 done, 1 unexpected, 2 bad recipe or input, 3 stopped and resumable, 4 non-finite training,
    5 storage, 6 plugin, 130 interrupted.
    """
    launch.world()
    if ctx.invoked_subcommand is None:
        emit(ctx.get_help())


for command in (
    *(run, check, flops, show),
    *(prepare, encode, verify, inspect),
    *(sample, evaluate, reference, compare, grid, import_, export),
    *(plugins, schema, doctor),
):
    cli.add_command(command)
