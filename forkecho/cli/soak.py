"""`forkecho soak`: hold a load on a server for a long time, and watch that it stays as it is."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from forkecho.cli import FAULT, complain, outputs
from forkecho.cli import options as shared
from forkecho.cli.check import selection
from forkecho.cli.journal import Journal
from forkecho.cli.judged import ServerCommand, declared, named, server, with_settings
from forkecho.cli.saved import save, seen_by_people
from forkecho.conformance import interpreter
from forkecho.conformance.known import with_file
from forkecho.conformance.plan import Plan
from forkecho.conformance.report import SOAKS
from forkecho.conformance.soak import playing
from forkecho.conformance.soak.record import Soak, encoded

__all__ = ["DURATION", "command"]

SECONDS = {"s": 1, "m": 60, "h": 3600}
LONGEST = 7 * 24 * 3600  # seconds; a record has a line for each sample


class Duration(click.ParamType[float]):
    """So many seconds, minutes and hours: `90s`, `10m`, `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The duration in seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(?:\d+(?:\.\d+)?[hms])+", str(value).strip().lower(), re.ASCII)
        parts = re.findall(r"([\d.]+)([hms])", found.group()) if found else []
        seconds = sum(float(number) * SECONDS[unit] for number, unit in parts)
        if not 0 < seconds <= LONGEST:
            self.fail(
                f"{value!r}: what is wanted is a duration of up to seven days, such as 90s, 10m or 1h",
                param,
                ctx,
            )
        return seconds


DURATION = Duration()


@click.command(cls=ServerCommand, short_help="Hold a load on a server, and watch that it stays as it is.")
@server
@click.option(
    "--for", "duration", type=DURATION, default="10m", show_default=True, help="How long: 90s, 10m, 1h."
)
@click.option(
    "--interval",
    type=DURATION,
    default="1s",
    show_default=True,
    help="Between two samples of what the server holds.",
)
@shared.selecting
@click.option(
    "--strict", is_flag=True, help="A broken SHOULD, or something that could not be observed, fails it."
)
@declared
@shared.known_list
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the record of the soak (JSON lines); until its end it grows in FILE.PID.part.",
)
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page of HTML with all that was watched over time.",
)
@shared.seeded
@shared.timeout_scale
@shared.python_of
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    connect: str | None,
    pid: int | None,
    duration: float,
    interval: float,
    seed: int,
    timeout_scale: float,
    strict: bool,
    python: str,
    known: Path | None,
    **options: Any,
) -> None:
    """Hold a load on one running server, repeat the suite against it, and watch that it stays as it is.

    The load is short, long, half-closed, reset, slow and silent clients, few enough to leave a machine of two cores to the
    suite, and the server room for it. Again and again it rests, and so must the server: with the descriptors, the processes and
    the memory that it had after the first repeat, and without a zombie. It may be given in all the forms that `check` takes.
    The repeat that is under way when the time is up is played to its end.

    Exit codes: 0 flat and conformant, 1 not, 2 wrong usage, 3 the suite could not judge, 4 the server never became ready,
    5 nothing to judge, 130 interrupted (what was seen so far is told and written).
    """
    judged = with_file(with_settings(named(ctx, name, connect, pid), options), known)
    files = outputs.places(options, [Path(one) for one in (known, judged.path) if one])
    plan = Plan(
        target=judged,
        selection=selection(options),
        seed=seed,
        scale=timeout_scale,
        strict=strict,
        python=interpreter.place(python),
    )
    journal = Journal(files.get("output"))
    unwritten = ["output"]
    try:
        found = watched(plan, duration, interval, lambda line: journal.add(encoded(line)))
        journal.add(encoded(found.footer))
        unwritten = write(found, files)
    finally:
        if journal.close(keep="output" in unwritten):
            complain(f"what was seen is in {journal.path}: forkecho report shows it")
    save(SOAKS["console"](found, **seen_by_people(sys.stdout.isatty())), None)
    ctx.exit(found.footer.exit if not unwritten or found.footer.exit not in (0, 1) else FAULT)


def write(found: Soak, files: dict[str, Path]) -> list[str]:
    """Write a soak to the files that were asked for, and say which could not be: one that cannot be costs no other."""
    unwritten = []
    for name, path in files.items():
        try:
            save(SOAKS[outputs.FILES[name][0]](found), path)
        except click.FileError as error:
            complain(f"--{name}: {error.format_message()}")
            unwritten.append(name)
    return unwritten


def watched(plan: Plan, seconds: float, every: float, written: playing.Written) -> Soak:
    """Soak; on a terminal with a progress bar."""
    if not sys.stderr.isatty():
        return playing.soak(plan, seconds, every=every, written=written)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[held]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"soaking {plan.target.name}", total=seconds, held="")

        def advance(told: playing.Progress) -> None:
            seen = f", [red]{told.faults} to look at[/red]" if told.faults else ""
            held = told.sample
            progress.update(
                task,
                completed=min(told.seconds, seconds),
                description=f"soaking {plan.target.name}, repeat {told.repeat}{seen}",
                held=f"{held.descriptors} descriptors, {held.processes} processes, {held.zombies} zombies"
                if held
                else "",
            )

        return playing.soak(plan, seconds, every=every, told=advance, written=written)
