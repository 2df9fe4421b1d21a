"""`forkecho matrix`: judge many servers, and show where they differ."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from forkecho.cli import check, gateways
from forkecho.cli.columns import RECORD, Entry, entered, interpreters_of, left_out, without_missing
from forkecho.cli.gateways import Source
from forkecho.cli.judged import writable
from forkecho.cli.judging import SILENCE, Here, Judged, Order, Place, Watcher, judge
from forkecho.cli.numbers import Number, WholeNumber
from forkecho.cli.saved import save, seen_by_people
from forkecho.conformance import upstream
from forkecho.conformance.known import with_file
from forkecho.conformance.matrix import Column, note
from forkecho.conformance.plan import EmptySelection, Plan, select
from forkecho.conformance.report import matrix, matrix_html, matrix_markdown
from forkecho.conformance.report.console import sentence
from forkecho.conformance.report.printable import one_line
from forkecho.conformance.result import Run
from forkecho.conformance.target import Target

__all__ = ["PRECEDENCE", "command"]

#: Of several exit codes the first of these is that of all, as of a run's several reasons.
PRECEDENCE = (2, 5, 4, 3, 1, 0)
INTERRUPTED = 130

#: The options of `forkecho check` that are the same for each target.
PLAYING = tuple(name for name in check.PLAYING if name != "python")

WORKERS = 2  # of each run: cases mostly wait, so that two keep a core busy where one target a core is judged
#: Seconds a case: as long as most wait for what does not come, so that even where nothing comes there is time enough.
PATIENCE = 5.0
STARTS_WITHIN = 60.0  # seconds to build, start and look at a target


@click.command(
    short_help="Judge many servers, and show where they differ.",
    params=[param for param in check.command.params if param.name in PLAYING],
)
@click.argument("names", nargs=-1, required=True, metavar="(TARGET | MANIFEST.toml | RUN.jsonl | DIR)...")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the record of each run into this folder, as TARGET.jsonl (with --python TARGET-3.8.jsonl).",
)
@click.option(
    "--python",
    "pythons",
    metavar="PYTHON",
    multiple=True,
    help="What {python} stands for, a column each: a path, a version (3.8, pypy3), or the word all for every one that is found (this one).",
)
@click.option(
    "--known",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Failures that are known, beside those of the manifests: DIR/TARGET.toml, where there is one.",
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the matrix as a page.")
@click.option(
    "--markdown",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the matrix as Markdown, with what each target breaks.",
)
@click.option(
    "--skip-missing", is_flag=True, help="Leave out what is not installed here; it is named at the end."
)
@click.option("--all", "all_rows", is_flag=True, help="Show the requirements where all agree as well.")
@click.option("--jobs", type=WholeNumber(1), help="Targets that are judged at a time (one a core).")
@click.option(
    "--tx",
    "specs",
    metavar="SPEC",
    multiple=True,
    help="Judge over this gateway instead of here: ssh=HOST//python=python3, popen//python=python3.12, 2*SPEC (execnet's).",
)
@click.option(
    "--give-up",
    type=Number(1),
    metavar="SECONDS",
    help="How long a target may take (5 s a case, and a minute).",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    pythons: tuple[str, ...],
    known: Path | None,
    output: Path | None,
    html: Path | None,
    markdown: Path | None,
    skip_missing: bool,
    all_rows: bool,
    jobs: int | None,
    specs: tuple[str, ...],
    give_up: float | None,
    **options: Any,
) -> None:
    """Judge many servers beside each other, and show requirement by target, the differences first.

    Each may be one of `forkecho list targets`, one that a manifest describes, or a run that was saved before by
    `--output`, which is shown as it is, or a folder with such runs. A target that crashes or hangs costs itself only.

    With --tx the next target goes to the next gateway that is free, and is started, observed and ended on the machine at
    its other end, whose Python needs the same forkecho. A machine that is lost costs the cases that it had not reported.

    Exit codes, of the targets judged now: 0 all conformant, 1 not all, 2 wrong usage or a program that is not installed, 3
    the suite could not judge, 4 a server never became ready, 5 nothing to judge, 130 interrupted. Where several hold, the
    first of 2, 5, 4, 3, 1, 0. Saved runs change nothing.
    """
    if specs and (pythons or jobs):
        option, instead = ("--python", "//python=PYTHON in it") if pythons else ("--jobs", "N*SPEC")
        raise click.UsageError(f"{option} is about this machine; with --tx SPEC what is wanted is {instead}")
    gates = gateways.parsed(specs)
    interpreters = interpreters_of(pythons)
    entries = entered(names, interpreters)
    with ExitStack() as stack:
        sources = {
            entries[heading].word: Source(target=one, known=listed(one, known))
            for heading, one in targets_of(entries).items()
        }
        hosts = stack.enter_context(gateways.opened(gates, sources)) if gates and sources else []
        elsewhere = [host.lacks for host in hosts]
        entries, missing = without_missing(entries, elsewhere) if skip_missing else (entries, [])
        targets = targets_of(entries)
        records = dict(zip(targets, file_names(entries[one].record for one in targets), strict=True))
        refuse_losses(
            [one.word for one in entries.values()],
            output,
            records.values(),
            {"--html": html, "--markdown": markdown},
        )
        passed = passed_on(ctx)
        scale = max(1.0, options["timeout_scale"]) * options["repeat"]
        folder = (
            made(output)
            if output
            else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forkecho-")))
        )
        orders = [
            Order(
                name=heading,
                plan=(plan := planned(with_file(one, sources[entries[heading].word].known), options)),
                options=(*passed, *entries[heading].words),
                known=sources[entries[heading].word].known,
                word=entries[heading].word,
                cases=(many := count(plan)),
                record=folder / records[heading],
                patience=give_up or (STARTS_WITHIN + PATIENCE * many) * scale,
                silence=SILENCE * scale,
            )
            for heading, one in targets.items()
        ]
        judged, interrupted = watched(orders, hosts or [Here() for _ in range(jobs or os.cpu_count() or 1)])
        for order, one in zip(orders, judged, strict=True):
            if one.column.run is None and order.record.exists():
                click.echo(f"forkecho: {order.record}: an earlier run's, left as it was", err=True)
    now = {one.column.name: one for one in judged}
    columns = [
        msgspec.structs.replace(
            Column(name=heading, run=one.found) if isinstance(one.found, Run) else now[heading].column,
            target=one.name,
            python=one.told,
        )
        for heading, one in entries.items()
    ]
    save(matrix.render(columns, all_rows=all_rows, **seen_by_people(sys.stdout.isatty())), None)
    if html:
        save(matrix_html.render(columns), html)
    if markdown:
        reports = f"fixtures/{upstream.FOLDER}"  # in a checkout, whose page it then is
        findings = reports if (markdown.parent / reports).is_dir() else ""
        save(matrix_markdown.render(columns, upstream.load(), folder=findings), markdown)
    asked = [entries[heading] for heading in targets]
    for line in [*left_out(pythons, interpreters, asked), *missing]:
        click.echo(f"forkecho: {line}", err=True)
    ctx.exit(INTERRUPTED if interrupted else exit_code(now.values()))


def targets_of(entries: Mapping[str, Entry]) -> dict[str, Target]:
    """Those that are judged now, and are no saved runs."""
    return {heading: one.found for heading, one in entries.items() if isinstance(one.found, Target)}


def listed(judged: Target, folder: Path | None) -> Path | None:
    """The list of a target's known failures, if it has one.

    Raises:
        BadFixture: it is malformed, or speaks of nothing.
    """
    path = folder / f"{judged.name}.toml" if folder else None
    if path is None or not path.exists():
        return None
    with_file(judged, path)
    return path


def planned(judged: Target, options: dict[str, Any]) -> Plan:
    """What will be tried of it, and how."""
    return Plan(
        target=judged,
        selection=check.selection(options),
        seed=options["seed"],
        scale=options["timeout_scale"],
        repeat=options["repeat"],
        strict=options["strict"],
    )


def count(plan: Plan) -> int:
    """How many cases will be tried; none are when none fits, which is then told of this target alone.

    Raises:
        UnknownId: a requirement, a group or a level does not exist, or judges clients.
    """
    try:
        return len(select(plan))
    except EmptySelection:
        return 0


def file_names(targets: Iterable[str]) -> list[str]:
    """The name of a record for each target, whatever it is called: no two are the same, not even where case is ignored."""
    plain = [re.sub(r"[^\w.-]", "_", name).lstrip(".-") or "_" for name in targets]
    given = {name.casefold() for name in plain}
    found: dict[str, str] = {}
    for name in plain:
        number, said = 1, name
        while said.casefold() in found or (number > 1 and said.casefold() in given):
            number += 1
            said = f"{name}-{number}"
        found[said.casefold()] = said
    return [name + RECORD for name in found.values()]


def refuse_losses(
    names: Sequence[str], output: Path | None, records: Iterable[str], options: Mapping[str, Path | None]
) -> None:
    """Refuse places that cannot be written, or where what is to be compared would be lost, before anything is judged.

    Args:
        names: what is to be compared.
        output: the folder of the records.
        records: their names.
        options: the pages by the options that name them.
    """
    places = [output / record for record in records] if output else []
    pages = {option: page for option, page in options.items() if page}
    taken = {place.resolve(): "the record of a target" for place in places}
    for option, page in pages.items():
        # The folder of the records will have been made by then.
        if not (output and page.parent.resolve() == output.resolve() and not output.exists()):
            writable(page)
        if what := taken.get(page.resolve()):
            raise click.UsageError(f"{option} {page} is where {what} is to be written: choose another place")
        taken[page.resolve()] = f"the page of {option}"
    if output and output.is_dir():
        for place in places:
            writable(place)
    kept = {Path(name).resolve(): name for name in names}
    for place in [*places, *pages.values()]:
        if name := kept.get(place.resolve()):
            raise click.UsageError(
                f"{name} is to be compared, and would be overwritten: choose another place"
            )
        if place.is_dir():
            raise click.UsageError(f"{place}: is a folder")


def made(folder: Path) -> Path:
    """The folder, made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.FileError(str(folder), error.strerror or str(error)) from None
    return folder


def passed_on(ctx: click.Context) -> list[str]:
    """The shared options that were given, as words for `forkecho check`."""
    words = ["--jobs", str(WORKERS)]
    for param in ctx.command.params:
        if param.name not in PLAYING or ctx.get_parameter_source(param.name) is ParameterSource.DEFAULT:
            continue
        value, option = ctx.params[param.name], param.opts[0]
        given = value if isinstance(value, tuple) else (value,)
        words += [option] if value is True else [f"{option}={one}" for one in given]
    return words


def exit_code(judged: Iterable[Judged]) -> int:
    """The gravest of those that were judged now; 0 where none was."""
    return min((one.exit for one in judged), key=PRECEDENCE.index, default=0)


def watched(orders: Sequence[Order], places: Sequence[Place]) -> tuple[list[Judged], bool]:
    """Judge them: on a terminal with a bar for each that is judged, elsewhere with a line for each that has been."""
    if not orders:
        return [], False
    if not sys.stderr.isatty():
        return judge(orders, places, Lines())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        return judge(orders, places, Bars(progress, len(orders)))


class Lines(Watcher):
    """A line on standard error for each target that has been judged."""

    def ended(self, order: Order, judged: Judged) -> None:
        """Say what became of it."""
        click.echo(told(judged), err=True)


class Bars(Watcher):
    """A bar for each target that is judged just now, and one for all."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("targets", total=total)
        self._tasks: dict[str, TaskID] = {}

    def begins(self, order: Order) -> None:
        """One bar more."""
        self._tasks[order.name] = self._progress.add_task(_escaped(order.name), total=order.cases)

    def advances(self, order: Order, done: int, bad: int) -> None:
        """Further, and whether there is something to look at."""
        seen = f", [red]{bad} to look at[/red]" if bad else ""
        self._progress.update(
            self._tasks[order.name], completed=done, description=_escaped(order.name) + seen
        )

    def ended(self, order: Order, judged: Judged) -> None:
        """One bar less, and a line that stays."""
        if (task := self._tasks.pop(order.name, None)) is not None:
            self._progress.remove_task(task)
        self._progress.advance(self._all)
        self._progress.console.print(told(judged), markup=False, highlight=False)


def told(judged: Judged) -> str:
    """What became of a target, in a line."""
    column = judged.column
    said = sentence(column.run) if column.run else "no verdict"
    if column.run and (place := column.run.header.host.get("gateway")):
        said += f" (on {place})"
    why = note(column)
    return one_line(f"{column.name}: {said}" + (f"; {why}" if why else ""))


def _escaped(name: str) -> str:
    return escape(one_line(name))
