"""The console entry point: `dit-toolkit` and `python -m dit_toolkit`."""

from __future__ import annotations

from dit_toolkit.cli import cli


def main() -> None:
    """Run the command line; always ends in SystemExit."""
    cli(prog_name="dit-toolkit")


if __name__ == "__main__":
    main()
