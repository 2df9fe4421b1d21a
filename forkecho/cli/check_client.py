"""`forkecho check-client`: judge a client."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from forkecho.cli import check, outputs
from forkecho.cli.judged import ServerCommand, with_settings
from forkecho.cli.numbers import Number
from forkecho.conformance import interpreter, target
from forkecho.conformance.known import with_file
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.plan import Plan
from forkecho.conformance.target import Target

__all__ = ["command"]

#: Options that mean the same as for a server, and are declared there.
SHARED = (*check.PLAYING, *outputs.NAMES, "known", "reply", "framing", "settings", "stop_first", "jobs")


@click.command(
    cls=ServerCommand,
    short_help="Judge a client.",
    params=[param for param in check.command.params if param.name in SHARED],
)
@click.argument("name", required=False, metavar="[CLIENT | MANIFEST.toml | -- COMMAND ...]")
@click.option("--prints", metavar="FORM", help="What it prints of a reply, e.g. 'Received: {data}' ({data}).")
@click.option(
    "--stdin", is_flag=True, help="The message is given on standard input, and not as the argument {message}."
)
@click.option("--idle-timeout", type=Number(0), help="Seconds of silence after which it says it gives up.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    stdin: bool,
    jobs: int | None,
    stop_first: bool,
    seed: int,
    timeout_scale: float,
    repeat: int,
    strict: bool,
    python: str,
    known: Path | None,
    **options: Any,
) -> None:
    """Judge a client: the suite is its server, replies in hostile ways, and sees what it prints and how it ends.

    It may be one of `forkecho list clients` (the reference client, when none is named), one that a manifest describes, or
    any COMMAND ({host}, {port} and {message} stand for whom to ask and for what to say).

    Exit codes: 0 conformant, 1 not conformant, 2 wrong usage, 3 the suite could not judge, 4 the client cannot be started,
    5 nothing to judge, 130 interrupted.
    """
    if stdin:
        options["settings"] = (*options["settings"], "stdin=true")
    judged = with_file(with_settings(named(ctx, name), options, ctx.meta.get("server", [])), known)
    plan = Plan(
        target=judged,
        selection=check.selection(options),
        seed=seed,
        scale=timeout_scale,
        repeat=repeat,
        strict=strict,
        python=interpreter.place(python),
    )
    check.judge(ctx, plan, jobs or check.workers_for(plan), stop_first, options)


def named(ctx: click.Context, name: str | None) -> Target:
    """The client that the arguments name, one way only; the command after `--` is still to be put into its manifest."""
    words: list[str] = ctx.meta.get("server", [])
    if name and words:
        raise click.UsageError("name one client: a CLIENT, a MANIFEST.toml, or -- COMMAND", ctx)
    if words:
        manifest = Manifest(title=shlex.join(words), role="client")
        return Target(name=Path(words[0]).name, manifest=manifest, here=os.getcwd())
    return target.load(name or "reference", "client")
