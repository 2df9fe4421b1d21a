"""`forkecho schema`: the JSON Schema of one line of a record."""

from __future__ import annotations

import json
from pathlib import Path

import click

from forkecho.cli.saved import save
from forkecho.conformance import result
from forkecho.conformance.soak import record

__all__ = ["command"]


@click.command(short_help="Print the JSON Schema of the record of a run.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
@click.option("--soak", is_flag=True, help="That of the record of a soak (`forkecho soak --output`).")
def command(output: Path | None, soak: bool) -> None:
    """Print the JSON Schema that each line of a record (`forkecho check --output RUN.jsonl`) fits."""
    schema = record.schema() if soak else result.schema()
    save(json.dumps(schema, indent=2) + "\n", output)
