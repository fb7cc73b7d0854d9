"""`plugins`: who offers what."""

from __future__ import annotations

import click

from dit_toolkit.cli.options import json_option
from dit_toolkit.cli.shell import emit, emit_json, table


@click.command()
@json_option
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List plugins and what they offer.

    Exit code 1 if one failed to load.
    """
    from dit_toolkit import registry

    fields = ("name", "distribution", "version", "families", "status", "reason")
    found = [{field: getattr(record, field) for field in fields} for record in registry.active().plugins()]
    if as_json:
        emit_json(found)
    else:
        rows = [["plugin", "distribution", "version", "status", "offers"]]
        for plugin in found:
            kinds = [f"{family}: {', '.join(offered)}" for family, offered in plugin["families"].items()]
            first, *others = [*filter(None, [plugin["reason"]]), *kinds] or [""]
            rows.append([plugin["name"], plugin["distribution"], plugin["version"], plugin["status"], first])
            rows += [["", "", "", "", line] for line in others]
        emit(table(rows))
    ctx.exit(1 if any(plugin["status"] == "failed" for plugin in found) else 0)
