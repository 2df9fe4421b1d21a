"""`forkecho spec`: the specification as Markdown."""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path

import click

from forkecho.cli.saved import save
from forkecho.conformance import specification

__all__ = ["command"]

SHOWN = 12  # lines of a difference


@click.command(short_help="Print the specification as Markdown.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
@click.option(
    "--check", type=click.Path(dir_okay=False, path_type=Path), help="Say whether that file is up to date."
)
@click.pass_context
def command(ctx: click.Context, output: Path | None, check: Path | None) -> None:
    """Print the specification as Markdown, generated from the requirements, the cases and the mutants.

    With --check FILE nothing is printed, unless the file says something else: then exit code 1.
    """
    if check and output:
        raise click.UsageError("--check and --output exclude each other", ctx)
    text = specification.render()
    if check is None:
        save(text, output)
        return
    try:
        there = check.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.FileError(str(check), getattr(error, "strerror", None) or "not UTF-8") from None
    if there != text:
        difference = difflib.unified_diff(
            there.splitlines(), text.splitlines(), str(check), "generated", "", "", 0, ""
        )
        for line in islice(difference, SHOWN):
            click.echo(line)
        click.echo(f"forkecho: {check} is out of date (`forkecho spec --output {check}`)", err=True)
        ctx.exit(1)
