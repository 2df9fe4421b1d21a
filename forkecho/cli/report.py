"""`forkecho report`: a record in another format."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from forkecho.cli.judged import writable
from forkecho.cli.saved import save, seen_by_people
from forkecho.conformance import result
from forkecho.conformance.report import FORMATS, SOAKS
from forkecho.conformance.soak.record import is_soak, load

__all__ = ["command"]


@click.command(short_help="Show the record of a run in another format.")
@click.argument("record", metavar="RUN.jsonl", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="console", help="What it becomes (console)."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
def command(record: Path, form: str, output: Path | None) -> None:
    """Show the record of a run, RUN.jsonl, or of a soak, in another format.

    The exit code is 0 if there was a record to show, whatever it says of the server.
    """
    writable(output, record)
    seen = seen_by_people(output is None and sys.stdout.isatty())
    if not is_soak(record):
        save(FORMATS[form](result.load(record), **seen), output)
    elif form in SOAKS:
        save(SOAKS[form](load(record), **seen), output)
    else:
        raise click.UsageError(f"{record}: it is of a soak, which is shown as {', '.join(SOAKS)}")
