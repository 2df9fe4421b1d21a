"""`forkecho repro`: a case of a record as a script that stands alone."""

from __future__ import annotations

from pathlib import Path

import click

from forkecho.cli import complain
from forkecho.cli.judged import writable
from forkecho.cli.saved import save
from forkecho.conformance import repro, result

__all__ = ["command"]


@click.command(short_help="Make of a case of a record a script that stands alone.")
@click.argument("record", metavar="RUN.jsonl", type=click.Path(path_type=Path))
@click.argument("case_id", metavar="CASE")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
def command(record: Path, case_id: str, output: Path | None) -> None:
    """Write a script in Python that does on the wire what CASE did in the record RUN.jsonl, for a bug report.

    It needs Python 3.8 or later and nothing else. It starts the server by the record's command, or asks one that runs
    already (HOST PORT), says what was expected and what was seen, and ends with 1 while the fault is there, with 0 when it
    is gone. Where what failed does not show on the wire, there is none, and the exit code is 2.
    """
    writable(output, record)
    made = repro.script(result.load(record), case_id)
    for note in made.notes:
        complain(note)
    save(made.text, output)
