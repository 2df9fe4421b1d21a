"""`forkecho explain`: a requirement or a case for people."""

from __future__ import annotations

import click

from forkecho.cli.list_ import either
from forkecho.cli.saved import save
from forkecho.conformance import specification

__all__ = ["command"]


@click.command(short_help="Explain a requirement or a case.")
@click.argument("name", metavar="ID")
@click.option(
    "--target", "judged", default="reference", help="Cases as they are for this target (reference)."
)
def command(name: str, judged: str) -> None:
    """Explain ID: a requirement (FORK-06), a case (buffer/whole@4097), or a case in all sizes (buffer/whole).

    Of a requirement: its source, why it matters, what judges it, and how to fix a server that fails it. Of a
    case: what it judges, and its steps.
    """
    save(specification.explain(name, either(judged).manifest), None)
