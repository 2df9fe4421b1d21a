"""`forkecho bench`: how many connections a second a server serves, beside others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import forkecho
from forkecho.cli import options as shared
from forkecho.cli.judged import ServerCommand, declared, named, server, with_settings, writable
from forkecho.cli.load import locust_window, require_locust
from forkecho.cli.numbers import Number, WholeNumber
from forkecho.cli.saved import save
from forkecho.conformance import interpreter, session, target
from forkecho.conformance.bench import Course, Ended, Generate, Lane, metered, weigh, windows
from forkecho.conformance.measurement import CEILING, Measurement, Window
from forkecho.conformance.report import bench as report
from forkecho.conformance.target import Builds, NotInstalled, Running, Target

__all__ = ["command"]

INTERRUPTED = 130
COULD_NOT = 3  # exit code, see the design
GENERATOR = "iterative-c"  # the server that costs least: what it serves is what the load generator can do
FORMS: dict[str, Callable[[Measurement], str]] = {
    "console": report.text,
    "markdown": report.markdown,
    "json": report.as_json,
}


class BenchCommand(ServerCommand):
    """Takes every word that follows `--vs`, up to the next option, as one more server."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `--vs` before each."""
        words, given, after = list[str](), iter(args), False
        for word in given:
            if word == "--":
                words += [word, *given]
            elif word == "--vs":
                after = True
                words += [word, *[other for other in [next(given, None)] if other is not None]]
            elif word.startswith("-"):
                after = False
                words.append(word)
                # The value of an option is no server.
                if any(
                    word in param.opts and not param.is_flag
                    for param in self.params
                    if isinstance(param, click.Option)
                ):
                    words += [value for value in [next(given, None)] if value is not None]
            else:
                words += ["--vs", word] if after else [word]
        return super().parse_args(ctx, words)


class Counts(click.ParamType[Any]):
    """Numbers, separated by commas."""

    name = "N,N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers, each once, as they were given."""
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(word.isascii() and word.isdecimal() and 1 <= int(word) <= 10000 for word in words):
            self.fail(f"{value!r}: what is wanted are numbers from 1 to 10000, such as 1,8,64", param, ctx)
        return tuple(dict.fromkeys(map(int, words)))


@click.command(cls=BenchCommand, short_help="Measure how fast a server is, beside others.")
@server
@declared
@click.option(
    "--vs",
    "others",
    multiple=True,
    metavar="TARGET...",
    help="Servers that are measured beside it: TARGETs or MANIFEST.toml files.",
)
@click.option("--clients", type=Counts(), default="1,8,64", help="How many clients at a time (1,8,64).")
@click.option("--rounds", type=WholeNumber(1, 1000), default=5, help="How often each is measured (5).")
@click.option(
    "--seconds",
    type=Number(0.1, 600),
    default=3.0,
    help="How long a window is (3; a small backlog starves clients for one and more).",
)
@click.option("--warm-up", type=Number(0, 60), default=0.5, help="Seconds of load before each window (0.5).")
@click.option(
    "--format", "form", type=click.Choice(list(FORMS)), default="console", help="What is printed (console)."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all that was measured as JSON."
)
@click.option(
    "--load",
    "generator",
    type=click.Choice(["own", "locust"]),
    default="own",
    help="Who opens the connections: forkecho's own load generator, or Locust, of the extra forkecho[load] (own).",
)
@click.option(
    "--workers", type=WholeNumber(0, 1000), help="With --load locust: its workers here (one a core)."
)
@click.option(
    "--expect-workers",
    "expected",
    type=WholeNumber(1, 1000),
    help="With --load locust and --connect: its workers that join from elsewhere.",
)
@click.option(
    "--master-bind",
    "bind",
    metavar="HOST:PORT",
    help="With them: where its master listens (all addresses, 5557).",
)
@shared.python_of
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    connect: str | None,
    pid: int | None,
    others: tuple[str, ...],
    clients: tuple[int, ...],
    rounds: int,
    seconds: float,
    warm_up: float,
    form: str,
    output: Path | None,
    generator: str,
    workers: int | None,
    expected: int | None,
    bind: str | None,
    python: str,
    **options: Any,
) -> None:
    """Measure whole connections a second, and their latency: connect, 17 bytes, the echo, half-close, the end of the stream.

    All servers are measured in turns, in every round each with every number of clients, and compared within the round: a machine is never as
    fast as a moment ago. One more server, that costs next to nothing, shows what the load generator can do by itself.

    Exit codes: 0 measured, 2 wrong usage or a program that is not installed, 3 it could not be measured, 4 a server never became
    ready, 130 interrupted (what was measured until then is shown).
    """
    load = None
    if generator == "locust":
        load = locust(workers, expected, bind, alone=bool(connect and not others))
    elif workers is not None or expected or bind:
        raise click.UsageError("--workers, --expect-workers and --master-bind go with --load locust")
    one = with_settings(named(ctx, name, connect, pid), options)
    servers = [one, *map(target.load, others)]
    writable(output)
    python = interpreter.place(python)
    for asked in servers:
        target.require_python(asked, python)
    refuse_twins(servers)
    course = Course(clients=clients, rounds=rounds, seconds=seconds, warm_up=warm_up)
    measured = measure(servers, course, python, load, elsewhere=bool(expected))
    if output:
        save(report.as_json(measured), output)
    if measured.windows:
        save(FORMS[form](measured), None)
    ctx.exit(INTERRUPTED if measured.interrupted else 0)


def locust(workers: int | None, expected: int | None, bind: str | None, *, alone: bool) -> Generate:
    """The load of Locust.

    Args:
        workers: that are started here; None: one a core, or none where others are expected.
        expected: that join from elsewhere.
        bind: where they do.
        alone: it is one server that runs already.

    Raises:
        click.UsageError: it cannot be meant so.
        NoLocust: it is not installed.
    """
    if bind and not expected:
        raise click.UsageError("--master-bind goes with --expect-workers")
    if expected and not alone:
        raise click.UsageError(
            "workers elsewhere reach a server that runs already, and no other: --connect HOST:PORT, without --vs"
        )
    host, colon, number = (bind or "*:5557").rpartition(":")
    if not colon or not host or not number.isdecimal() or not 0 < int(number) < 65536:
        raise click.UsageError(f"--master-bind {bind}: what is wanted is HOST:PORT, such as 192.0.2.1:5557")
    many = workers if workers is not None else 0 if expected else os.cpu_count() or 1
    if not many and not expected:
        raise click.UsageError("--workers 0: who is to open connections? --expect-workers N, from elsewhere")
    require_locust()

    def load(running: Running, clients: int, course: Course) -> dict[str, Any]:
        address, port = running.address
        if "/" in address:
            raise click.UsageError(f"{address}: Locust's clients do not speak to UNIX sockets")
        seen = locust_window(
            address,
            port,
            running.manifest.reply,
            clients=clients,
            seconds=course.seconds,
            warm_up=course.warm_up,
            workers=many,
            others=expected or 0,
            bind=(host, int(number)) if expected else None,
        )
        return seen.told(many + (expected or 0))

    return load


def refuse_twins(servers: Sequence[Target]) -> None:
    """Each has a name of its own, by which it is told from the others."""
    names = [one.name for one in servers]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"{name} is named twice: measure another beside it")


def measure(
    servers: Sequence[Target],
    course: Course,
    python: str,
    load: Generate | None = None,
    *,
    elsewhere: bool = False,
) -> Measurement:
    """Start all servers, measure them in turns, and weigh them; what was measured before an interrupt is kept.

    Args:
        servers: the one in question first.
        course: how.
        python: that runs them.
        load: who opens the connections, if not our own load generator.
        elsewhere: some are opened from other machines, which reach no server of ours.
    """
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found: list[Window] = []
    memory, unseen, interrupted = [], [], False
    with ExitStack() as stack:
        builds = Builds()
        stack.callback(builds.close)
        lanes = [
            Lane(name=one.name, running=stack.enter_context(target.start(one, builds, python=python)))
            for one in servers
        ]
        unseen += [f"{lane.name}: what it costs could not be seen." for lane in lanes if not seen(lane)]
        every = lanes
        try:
            if elsewhere:
                raise NotInstalled("the load is elsewhere")
            own = target.start(target.load(GENERATOR), builds)
            every = [*lanes, Lane(name=CEILING, running=stack.enter_context(own))]
        except NotInstalled as missing:
            unseen.append(f"What the load generator can do by itself was not measured: {missing}.")
        try:
            with progress(course.rounds * len(course.clients) * len(every)) as told:
                found.extend(windows(course, every, told, load))
            memory = [weigh(lane) for lane in lanes]
        except KeyboardInterrupt:
            interrupted = True
    mine = [window for window in found if window.target != CEILING]
    if not interrupted and not any(window.connections for window in mine):
        why = [*dict.fromkeys(why for window in mine for why in window.errors)]
        raise Ended(f"no connection was served ({', '.join(why[:3]) or 'and none failed'})")
    return Measurement(
        forkecho=forkecho.__version__,
        started=started,
        host=session.host(),
        targets=[one.describe() for one in servers],
        clients=list(course.clients),
        rounds=course.rounds,
        seconds=course.seconds,
        warm_up=course.warm_up,
        windows=found,
        memory=memory,
        unseen=unseen,
        interrupted=interrupted,
    )


def seen(lane: Lane) -> bool:
    """Page faults and time may be asked of the kernel."""
    meter = metered(lane.running)
    if meter:
        meter.close()
    return meter is not None


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, which is gone at the end; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=total)
        yield lambda: bar.advance(task)
