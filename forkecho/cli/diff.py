"""`forkecho diff`: what two runs differ in."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from forkecho.cli.judged import writable
from forkecho.cli.saved import save, seen_by_people
from forkecho.conformance import result
from forkecho.conformance.comparison import compare
from forkecho.conformance.report.difference import FORMATS

__all__ = ["command"]


@click.command(short_help="Say what got worse and better between two runs.")
@click.argument("old", metavar="OLD.jsonl", type=click.Path(path_type=Path))
@click.argument("new", metavar="NEW.jsonl", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="console", help="What it becomes (console)."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
@click.pass_context
def command(ctx: click.Context, old: Path, new: Path, form: str, output: Path | None) -> None:
    """Say what got worse, better, new and gone between two runs (`forkecho check --output RUN.jsonl`).

    The verdicts from good to bad are pass and fixed, known, warn, inconclusive, unstable, fail, blocked, broken. Nothing
    gets better by not being seen (inconclusive, blocked, broken), nor by being listed (known), nor by failing where it was
    not seen before; what is neither better nor worse has changed otherwise. A case that does not apply (n/a) counts as one that is not there; a new one that is unstable, failed, blocked or broken counts as worse.

    Exit codes: 0 nothing got worse, 1 something did, 2 wrong usage.
    """
    writable(output, old, new)
    runs = result.load(old), result.load(new)
    found = compare(*runs)
    terminal = output is None and sys.stdout.isatty()
    save(FORMATS[form](*runs, found, **seen_by_people(terminal)), output)
    ctx.exit(1 if found.worse else 0)
