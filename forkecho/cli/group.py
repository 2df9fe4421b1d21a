"""The group of all verbs; the module of a verb is imported when it is used."""

from __future__ import annotations

import importlib

import click

import forkecho
from forkecho.cli import USAGE, VERBS, complain
from forkecho.conformance.nearest import nearest

__all__ = ["forkecho_", "run"]


class Verbs(click.Group):
    """Knows its commands by name and by what the help says of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, the most used first."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb, from its module."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with, or a complaint with what is near."""
        if args[0] not in VERBS and not ctx.resilient_parsing:
            ctx.fail(f"there is no verb {args[0]!r}{nearest(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, short) for verb, (_, short) in VERBS.items()])


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(forkecho.__version__, prog_name="forkecho", message="%(prog)s %(version)s")
@click.pass_context
def forkecho_(ctx: click.Context) -> None:
    """Judge TCP echo servers that serve every connection in a process of its own.

    `forkecho check` judges the reference server, `forkecho check -- ./myserver {port}` yours.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


def run(words: list[str]) -> int:
    """Do what the words say; the exit code is what the verb returned or left with, 0 if it said nothing."""
    # Not by click's own main(): it takes a broken pipe for exit code 1, which here means "not conformant".
    try:
        with forkecho_.make_context("forkecho", words) as context:
            status = forkecho_.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        complain(error.format_message().rstrip(".") + (f" (see `{where} --help`)" if where else ""))
        return USAGE
    return status if isinstance(status, int) else 0
