"""A soak from beginning to end: one server, a load on it, the suite again and again, and rests between."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from forkecho.conformance import session, target
from forkecho.conformance.plan import EmptySelection, Plan, select
from forkecho.conformance.result import QUIET, CaseLine, Verdict
from forkecho.conformance.soak import judged
from forkecho.conformance.soak.load import KINDS, RATE, Order, room_for
from forkecho.conformance.soak.loading import Loading, LoadLost
from forkecho.conformance.soak.record import FORMAT, Fault, Line, Repeat, Sample, Soak, SoakFooter, SoakHeader
from forkecho.conformance.soak.sampling import Sampler
from forkecho.conformance.target import Builds, NotSupported, Running

__all__ = ["Progress", "soak"]

LOADED_FOR = 5.0  # seconds at most for a load without cases to come to its part
SEEN_MAX = 600  # characters of a case's words in the record


class Progress(msgspec.Struct, kw_only=True):
    """How far a soak is: seconds, the number of the repeat, cases that were not in order, and the last sample."""

    seconds: float = 0.0
    repeat: int = 0
    faults: int = 0
    sample: Sample | None = None


Told = Callable[[Progress], object]
Written = Callable[[Line], object]


def soak(
    plan: Plan,
    seconds: float,
    *,
    every: float = 1.0,
    repeats: int = 1,
    told: Told = lambda progress: None,
    written: Written = lambda line: None,
) -> Soak:
    """Soak the plan's target for so many seconds, and to the end of the repeat that is under way then.

    Args:
        every: seconds between two samples.
        repeats: of the suite, at least.
        told: called as it goes on, from any thread.
        written: called with each line of the record as soon as it is known, all but the footer, from any thread.

    Raises:
        UnknownId, EmptySelection: see `plan.select`.
        NotInstalled: the target's program is missing.
        NotReady: it does not listen.
        NotSupported: its processes cannot be watched.
        NoInterpreter: the target does not support the Python that is to run it.
    """
    python = session.python_of(plan)
    started = datetime.datetime.now(datetime.UTC)
    plan = msgspec.structs.replace(plan, day=started.date())
    selected = len(select(plan))
    builds = Builds()
    try:
        with (
            session.terminable(),
            target.start(plan.target, builds, scale=plan.scale, python=plan.python) as running,
        ):
            if running.observer is None or running.owner is None:
                raise NotSupported(f"what {plan.target.name} holds cannot be watched: {running.blind}")
            model = session.model_of(running, plan.scale)
            room, beside = room_for(plan.target.manifest.max_connections)
            told_of = session.header(
                plan,
                selected,
                started,
                host=session.host(),
                packages=target.versions(plan.target.manifest.needs),
                python=python,
            )
            header = SoakHeader(
                **msgspec.structs.asdict(told_of)
                | {
                    "format": FORMAT,
                    "model": str(model) if model.model else None,
                    "duration": seconds,
                    "interval": every,
                    "load": {"room": room, "rate": RATE, "beside the cases": beside},
                }
            )
            written(header)
            return Soaking(plan, running, header, told, written).play(repeats)
    finally:
        builds.close()


class Soaking:
    """One server while it is soaked.

    Args:
        plan: which cases, and how they are played.
        running: the server.
        header: of the record.
        told, written: called as it goes on, see `soak`.
    """

    def __init__(
        self, plan: Plan, running: Running, header: SoakHeader, told: Told, written: Written
    ) -> None:
        assert running.owner
        # To the suite it is a server that runs already: cases that would start, signal or end it do not apply.
        served = msgspec.structs.replace(plan.target, connect=running.address, pid=running.owner.pid)
        self._plan = msgspec.structs.replace(plan, target=served)
        self._running, self._header = running, header
        self._told, self._written, self._progress = told, written, Progress()
        manifest = plan.target.manifest
        self._load = Loading(
            Order(
                address=running.address,
                reply=manifest.reply,
                one_shot=manifest.one_shot,
                message_max=manifest.message_max,
                room=header.load["room"],
                seed=plan.seed,
            )
        )
        self._sampler = Sampler(running, header.interval, lambda: self._load.served, self._sampled)
        self._repeats: list[Repeat] = []
        self._lines: list[CaseLine] = []  # of the repeat that is under way
        self._begun = 0.0

    def play(self, repeats: int) -> Soak:
        """Soak it, for so many repeats at least; what was seen so far where that is interrupted."""
        interrupted, ended, broken = False, "", ""
        clock = time.monotonic()
        try:
            self._sampler.start()
            self._sampler.rest()
            while not ended and (
                len(self._repeats) < repeats or time.monotonic() - clock < self._header.duration
            ):
                self._repeat()
                ended = self._ended()
        except KeyboardInterrupt:
            interrupted = True
        except LoadLost as error:
            broken = str(error)
        finally:
            self._sampler.close()
            self._load.close()
        if self._lines:
            self._close_repeat(whole=False)
        found = Soak(
            header=self._header,
            samples=tuple(sorted(self._sampler.samples, key=lambda one: one.t)),
            repeats=tuple(self._repeats),
            footer=SoakFooter(
                seconds=round(time.monotonic() - clock, 3),
                exit=0,
                interrupted=interrupted,
                ended=ended or self._ended(),
                broken=broken or self._sampler.error,
                load=dict(sorted(self._load.told.counts.items())),
                wrong=self._load.told.wrong,
            ),
        )
        footer = msgspec.structs.replace(found.footer, exit=judged.exit_code(found))
        return msgspec.structs.replace(found, footer=footer)

    def _repeat(self) -> None:
        """The suite once: with the load what nobody is disturbed by, without it the rest; at rest after each."""
        self._begun = self._sampler.now
        self._progress.repeat += 1
        together = bool(self._header.load["beside the cases"])
        opened = self._load.told.counts.get("opened", 0)
        self._load.go()
        self._sampler.phase = "load"
        if together:
            self._cases(beside=True)
        # The load is to have come round, however few the cases are.
        self._load.wait_for(opened + len(KINDS), LOADED_FOR)
        self._load.rest()
        self._sampler.rest()
        if self._ended():
            return
        self._sampler.phase = "cases"
        self._cases(beside=False if together else None)
        self._close_repeat(whole=True)
        self._sampler.rest()

    def _cases(self, beside: bool | None) -> None:
        """Play the cases that others may use the server beside, or those that they may not, or all."""
        plan = msgspec.structs.replace(self._plan, beside=beside)
        with suppress(EmptySelection):
            run, _ = session.play(plan, look=False, told=self._case)
            tried = (line for line in run.cases if not line.reason.startswith("not tried"))
            self._lines += tried if run.footer.interrupted else run.cases
            if run.footer.interrupted:
                raise KeyboardInterrupt

    def _close_repeat(self, *, whole: bool) -> None:
        """Write down what came of the repeat that is under way."""
        totals = Counter(as_judged(line).value for line in self._lines)
        self._repeats.append(
            Repeat(
                number=len(self._repeats) + 1,
                t=self._begun,
                seconds=round(self._sampler.now - self._begun, 3),
                totals={one.value: totals[one.value] for one in Verdict if totals[one.value]},
                faults=list(faults(self._lines)),
                whole=whole,
            )
        )
        self._written(self._repeats[-1])
        self._lines = []

    def _ended(self) -> str:
        """That the server is no more, in words."""
        if self._sampler.alive:
            return ""
        return f"the server ended after {self._sampler.now:.0f} s (process {self._running.owner.pid})"  # type: ignore[union-attr]

    def _sampled(self, sample: Sample) -> None:
        self._written(sample)
        self._progress.sample = sample
        self._progress.seconds = self._sampler.now
        self._told(self._progress)

    def _case(self, line: CaseLine) -> None:
        self._progress.faults += as_judged(line) not in QUIET
        self._progress.seconds = self._sampler.now
        self._told(self._progress)


def as_judged(line: CaseLine) -> Verdict:
    """The verdict, but that a list of known failures is out of date is not asked of a part of the cases."""
    return Verdict.PASS if line.verdict is Verdict.FIXED else line.verdict


def faults(lines: Iterable[CaseLine]) -> Iterable[Fault]:
    """The cases that were not in order."""
    for line in lines:
        if as_judged(line) not in QUIET:
            yield Fault(
                id=line.id,
                requirement=line.requirement,
                level=line.level,
                verdict=line.verdict.value,
                reason=line.reason[:SEEN_MAX],
                expected=line.expected[:SEEN_MAX],
                seen=line.seen[:SEEN_MAX],
            )
