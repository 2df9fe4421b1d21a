"""`forkecho check`: judge a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from forkecho.cli.judged import ServerCommand, declared, named, server, with_settings, writable
from forkecho.cli.saved import save, seen_by_people
from forkecho.conformance.plan import Plan, Selection, select
from forkecho.conformance.report import FORMATS
from forkecho.conformance.result import CaseLine, Run, Verdict
from forkecho.conformance.session import play

__all__ = ["command", "judge", "selection"]

#: Verdicts that need no line of their own while the run goes on.
QUIET = (Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.KNOWN)


@click.command(cls=ServerCommand, short_help="Judge a server.")
@server
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
@declared
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
        selection=selection(options),
        seed=seed,
        scale=timeout_scale,
        repeat=repeat,
        stress=stress,
        strict=strict,
        python=python,
    )
    # A server that runs already is one server: several workers would be each other's noise.
    workers = 1 if connect else jobs or min(os.cpu_count() or 1, 4)
    judge(ctx, plan, workers, output, junit, stop_first)


def selection(options: dict[str, Any]) -> Selection:
    """Which cases the options choose."""
    return Selection(
        case=list(options["cases"]),
        requirement=[one.upper() for one in options["requirements"]],
        group=[one.upper() for one in options["groups"]],
        level=[one.lower() for one in options["levels"]],
    )


def judge(
    ctx: click.Context, plan: Plan, workers: int, output: Path | None, junit: Path | None, stop_first: bool
) -> None:
    """Play the plan, write what is to be written, show the rest, and leave with the exit code of the run."""
    for path in (output, junit):
        writable(path)
    run, missing = watched(plan, workers, stop_first)
    for path, form in ((output, "jsonl"), (junit, "junit")):
        if path:
            save(FORMATS[form](run), path)
    if missing:
        click.echo(f"forkecho: {missing}", err=True)
    else:
        show(run)
    ctx.exit(run.footer.exit)


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
