"""`forkecho check`: judge a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from forkecho.cli import FAULT, outputs
from forkecho.cli import options as shared
from forkecho.cli.followed import Stream, end_with
from forkecho.cli.judged import ServerCommand, declared, named, server, with_settings
from forkecho.cli.numbers import WholeNumber
from forkecho.conformance import interpreter
from forkecho.conformance.known import with_file
from forkecho.conformance.plan import Plan, Selection, select
from forkecho.conformance.result import QUIET, CaseLine, Run
from forkecho.conformance.session import play

__all__ = ["PLAYING", "command", "judge", "selection", "workers_for"]

#: Options that mean the same for a client, and for each of many servers.
PLAYING = ("cases", "requirements", "groups", "levels", "strict", "seed", "timeout_scale", "repeat", "python")

#: To start a further worker takes a second, so it needs so many cases to be worth it.
WORTH_A_WORKER = 40
CROWD = 1000  # connections declared, above which two crowds at a time would be in each other's way


@click.command(cls=ServerCommand, short_help="Judge a server.")
@server
@shared.selecting
@click.option(
    "--strict", is_flag=True, help="A broken SHOULD, or something that could not be observed, fails the run."
)
@declared
@shared.known_list
@outputs.options
@click.option("-x", "stop_first", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--jobs",
    type=WholeNumber(1),
    help="Workers, each with a server of its own (two a core, at most 8; one alone for a few cases).",
)
@shared.seeded
@shared.timeout_scale
@click.option(
    "--repeat", type=WholeNumber(1), default=1, help="Play each case so many times; all must agree (1)."
)
@click.option(
    "--stress", is_flag=True, help="With --connect to another host: allow what stresses the server."
)
@shared.python_of
@click.option(
    "--ticks", type=int, hidden=True, help="A descriptor: a byte to it for each case that has ended."
)
@click.option(
    "--stream",
    type=int,
    hidden=True,
    help="A descriptor: what is known goes there at once, the record at the end.",
)
@click.option(
    "--lifeline", type=int, hidden=True, help="A descriptor: the run ends when the other end of it is closed."
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    connect: str | None,
    pid: int | None,
    stop_first: bool,
    jobs: int | None,
    seed: int,
    timeout_scale: float,
    repeat: int,
    stress: bool,
    strict: bool,
    python: str,
    known: Path | None,
    lifeline: int | None,
    **options: Any,
) -> None:
    """Judge a server.

    It may be one of `forkecho list targets` (the reference server, when none is named), one that a manifest describes, any
    COMMAND ({port} stands for the port to listen on), or one that runs already.

    Exit codes: 0 conformant, 1 not conformant, 2 wrong usage, 3 the suite could not judge, 4 the server never became
    ready, 5 nothing to judge, 130 interrupted.
    """
    if lifeline is not None:
        end_with(lifeline)
    judged = with_file(with_settings(named(ctx, name, connect, pid), options), known)
    plan = Plan(
        target=judged,
        selection=selection(options),
        seed=seed,
        scale=timeout_scale,
        repeat=repeat,
        stress=stress,
        strict=strict,
        python=interpreter.place(python),
    )
    # A server that runs already is one server: several workers would be each other's noise.
    judge(ctx, plan, 1 if connect else jobs or workers_for(plan), stop_first, options)


def workers_for(plan: Plan) -> int:
    """How many workers a run is worth, where nobody has said; crowds are not held beside each other."""
    if plan.target.manifest.demand > CROWD:
        return 1
    return min(2 * (os.cpu_count() or 1), 8, 1 + len(select(plan)) // WORTH_A_WORKER)


def selection(options: dict[str, Any]) -> Selection:
    """Which cases the options choose."""
    return Selection(
        case=list(options["cases"]),
        requirement=[one.upper() for one in options["requirements"]],
        group=[one.upper() for one in options["groups"]],
        level=[one.lower() for one in options["levels"]],
    )


def judge(ctx: click.Context, plan: Plan, workers: int, stop_first: bool, options: dict[str, Any]) -> None:
    """Play the plan, write what is to be written, show the rest, and leave with the exit code of the run.

    Where a report could not be written, 3 takes the place of 1 and 0.
    """
    read = [Path(one) for one in (ctx.params.get("known"), plan.target.path) if one]
    files = outputs.places(options, read)
    run, missing = watched(plan, workers, stop_first, options.get("ticks"), options.get("stream"))
    written = outputs.write(run, files)
    if missing:
        outputs.say(f"forkecho: {missing}")
    outputs.show(run, options["form"], missing=bool(missing))
    ctx.exit(run.footer.exit if written or run.footer.exit not in (0, 1) else FAULT)


def watched(
    plan: Plan, workers: int, stop_first: bool, ticks: int | None = None, stream: int | None = None
) -> tuple[Run, str]:
    """Play the plan; on a terminal with a progress bar, elsewhere with a line where something is wrong.

    Args:
        ticks: who watches is at the other end of this descriptor; see `ticking`.
        stream: who watches wants to know what is judged, not only how much; see `Stream`.
    """
    if stream is not None:
        told = Stream(stream)
        run, missing = play(plan, jobs=workers, stop_first=stop_first, told=told.line, began=told.line)
        told.whole(run)
        return run, missing
    if ticks is not None:
        return play(plan, jobs=workers, stop_first=stop_first, told=ticking(ticks))
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


def ticking(descriptor: int) -> Callable[[CaseLine], None]:
    """Writes `.` for each case that has ended, `x` where it is to be looked at; ends the run once nobody reads that."""
    os.set_inheritable(descriptor, False)

    def tick(line: CaseLine) -> None:
        try:
            os.write(descriptor, b"." if line.verdict in QUIET else b"x")
        except BrokenPipeError:
            raise KeyboardInterrupt from None

    return tick
