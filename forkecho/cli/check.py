"""`forkecho check`: judge a server."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from forkecho.cli.saved import save, seen_by_people
from forkecho.conformance import fixture, target
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.plan import Plan, Selection, select
from forkecho.conformance.report import FORMATS
from forkecho.conformance.result import CaseLine, Run, Verdict
from forkecho.conformance.session import play
from forkecho.conformance.target import Target

__all__ = ["command"]

#: Verdicts that need no line of their own while the run goes on.
QUIET = (Verdict.PASS, Verdict.NOT_APPLICABLE)


class _Command(click.Command):
    """A command whose words after `--` are a server's command line, whatever they look like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta["server"] = args[at + 1 :]
            args = args[:at]
            if not ctx.meta["server"]:
                raise click.UsageError("after -- comes the command that starts the server", ctx)
        return super().parse_args(ctx, args)


@click.command(cls=_Command, short_help="Judge a server.")
@click.argument("name", required=False, metavar="[TARGET | MANIFEST.toml | -- COMMAND ...]")
@click.option("--connect", metavar="HOST:PORT", help="Judge a server that runs already; it is never ended.")
@click.option(
    "--pid", type=click.IntRange(1), help="With --connect: the process that owns the listening socket."
)
@click.option("--case", "cases", metavar="GLOB", multiple=True, help="Only cases whose id fits.")
@click.option(
    "--requirement", "requirements", metavar="ID", multiple=True, help="Only cases of this requirement."
)
@click.option(
    "--group", "groups", metavar="NAME", multiple=True, help="Only cases of this group (ECHO, FORK, ...)."
)
@click.option("--level", "levels", metavar="LEVEL", multiple=True, help="Only must, should or may.")
@click.option(
    "--strict", is_flag=True, help="A broken SHOULD, or something that could not be observed, fails the run."
)
@click.option("--reply", metavar="FORM", help="How the server replies, e.g. '{pid}:{data}' ({data}).")
@click.option(
    "--framing", metavar="FRAMING", help="stream, or one-shot: one recv, one reply, close (stream)."
)
@click.option(
    "--max-connections", type=click.IntRange(1), help="How many connections at once it says it serves."
)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Any other key of a manifest.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the record of the run (JSON lines).",
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write a JUnit report.")
@click.option("-x", "stop_first", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Workers, each with a server of its own (one a core, at most 4)."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random payloads.")
@click.option(
    "--timeout-scale", type=click.FloatRange(0.01, 1000), default=1.0, help="Multiplies all deadlines (1)."
)
@click.option(
    "--repeat", type=click.IntRange(1), default=1, help="Play each case so many times; all must agree (1)."
)
@click.option(
    "--stress", is_flag=True, help="With --connect to another host: allow what stresses the server."
)
@click.option("--python", default=sys.executable, help="The interpreter that {python} stands for (this one).")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    connect: str | None,
    pid: int | None,
    output: Path | None,
    junit: Path | None,
    stop_first: bool,
    jobs: int | None,
    seed: int,
    timeout_scale: float,
    repeat: int,
    stress: bool,
    strict: bool,
    python: str,
    **options: Any,
) -> None:
    """Judge a server.

    It may be one of `forkecho list targets` (the reference server, when none is named), one that a manifest describes, any
    COMMAND ({port} stands for the port to listen on), or one that runs already.

    Exit codes: 0 conformant, 1 not conformant, 2 wrong usage, 3 the suite could not judge, 4 the server never became
    ready, 5 nothing to judge, 130 interrupted.
    """
    judged = with_settings(named(ctx, name, connect, pid), options)
    plan = Plan(
        target=judged,
        selection=Selection(
            case=list(options["cases"]),
            requirement=[one.upper() for one in options["requirements"]],
            group=[one.upper() for one in options["groups"]],
            level=[one.lower() for one in options["levels"]],
        ),
        seed=seed,
        scale=timeout_scale,
        repeat=repeat,
        stress=stress,
        strict=strict,
        python=python,
    )
    for path in (output, junit):
        writable(path)
    # A server that runs already is one server: several workers would be each other's noise.
    workers = 1 if connect else jobs or min(os.cpu_count() or 1, 4)
    run, missing = watched(plan, workers, stop_first)
    for path, form in ((output, "jsonl"), (junit, "junit")):
        if path:
            save(FORMATS[form](run), path)
    if missing:
        click.echo(f"forkecho: {missing}", err=True)
    else:
        show(run)
    ctx.exit(run.footer.exit)


def named(ctx: click.Context, name: str | None, connect: str | None, pid: int | None) -> Target:
    """The target that the arguments name, one way only."""
    server: list[str] = ctx.meta.get("server", [])
    if sum(map(bool, (name, connect, server))) > 1:
        raise click.UsageError("name one server: a TARGET, a MANIFEST.toml, --connect, or -- COMMAND", ctx)
    if pid and not connect:
        raise click.UsageError("--pid goes with --connect", ctx)
    if connect:
        return Target(
            name=connect,
            manifest=Manifest(title=f"the server at {connect}"),
            connect=address(connect),
            pid=pid or 0,
        )
    if server:
        manifest = Manifest(title=shlex.join(server), command=server)
        return Target(name=Path(server[0]).name, manifest=manifest, here=os.getcwd())
    return target.load(name or "reference")


def address(text: str) -> tuple[str, int]:
    """HOST:PORT as numbers; an IPv6 address stands in brackets."""
    host, _, number = text.rpartition(":")
    if not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise click.UsageError(
            f"--connect {text}: what is wanted is HOST:PORT, such as 127.0.0.1:7 or [::1]:7"
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(number), type=socket.SOCK_STREAM)
    except OSError as error:
        raise click.UsageError(f"--connect {text}: {error.strerror}") from None
    # IPv4 first: of the two meanings of `localhost` it is the one that most servers listen on.
    best = min(found, key=lambda one: one[0] != socket.AF_INET)
    return str(best[4][0]), int(number)


def with_settings(judged: Target, options: dict[str, Any]) -> Target:
    """The target with what was said about it on the command line."""
    raw = msgspec.to_builtins(judged.manifest)
    for key in ("reply", "framing", "max_connections"):
        if options[key] is not None:
            raw[key.replace("_", "-")] = options[key]
    for setting in options["settings"]:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: what is wanted is KEY=VALUE")
        try:
            raw[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            raw[key] = value  # a text without its quotes
    manifest = fixture.convert(raw, Manifest, f"target {judged.name}")
    return msgspec.structs.replace(judged, manifest=manifest)


def writable(path: Path | None) -> None:
    """Refuse a place that cannot be written before the run, not after it."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise click.UsageError(f"{path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.UsageError(f"{path}: cannot be written")


def watched(plan: Plan, workers: int, stop_first: bool) -> tuple[Run, str]:
    """Play the plan; on a terminal with a progress bar, elsewhere with a line where something is wrong."""
    if not sys.stderr.isatty():

        def tell(line: CaseLine) -> None:
            if line.verdict not in QUIET:
                click.echo(f"{line.verdict.value}: {line.requirement} {line.id}", err=True)

        return play(plan, jobs=workers, stop_first=stop_first, told=tell)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"judging {plan.target.name}", total=len(select(plan)))
        failed = 0

        def advance(line: CaseLine) -> None:
            nonlocal failed
            failed += line.verdict not in QUIET
            seen = f", [red]{failed} to look at[/red]" if failed else ""
            progress.update(task, advance=1, description=f"judging {plan.target.name}{seen}")

        return play(plan, jobs=workers, stop_first=stop_first, told=advance)


def show(run: Run) -> None:
    """The report for people."""
    save(FORMATS["console"](run, **seen_by_people(sys.stdout.isatty())), None)
