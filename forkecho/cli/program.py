"""Verbs that are programs of their own, as commands of the group.

Usually they are started before click is imported (see `forkecho.cli.main`), and not by way of the group.
"""

from __future__ import annotations

import click

from forkecho.cli import VERBS, run_program

__all__ = ["Program"]


class Program(click.Command):
    """Takes everything that follows the verb as it is."""

    def __init__(self, verb: str) -> None:
        """Make the command of a verb, one of `PROGRAMS`."""
        super().__init__(verb, short_help=VERBS[verb][1], add_help_option=False)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse nothing."""
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> int:
        """Run the program."""
        return run_program(str(self.name), ctx.args)
