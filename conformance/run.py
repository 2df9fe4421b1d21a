"""The interpreter: a table from step to what is done, and the way of one case to its result."""

from __future__ import annotations

import re
import signal
import time
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from forkecho.conformance import acts, limits, sights, target
from forkecho.conformance.address import Address
from forkecho.conformance.case import Case
from forkecho.conformance.deadline import Deadline, crowded, wait_for
from forkecho.conformance.plan import CANARY, Plan
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import (
    Bind,
    Call,
    Close,
    Exchange,
    Expect,
    Freeze,
    HalfClose,
    Idle,
    Launch,
    Lift,
    Limit,
    Mark,
    Open,
    Reach,
    Reset,
    See,
    Send,
    Signal,
    Step,
    Stuff,
    Thaw,
    Vanish,
)
from forkecho.conformance.target import Builds, NotInstalled, NotReady, NotSupported, Running
from forkecho.conformance.verdict import Outcome, Unmet, Unobservable, combine, outcome
from forkecho.conformance.wire import Transcript
from forkecho.conformance.world import World

__all__ = ["PERFORM", "Bench", "judge"]

USUAL = Launch(launch="fresh")  # a launch without options
SETTLE_WITHIN = 1.0  # seconds for a shared target to be as it was; one that needs longer is replaced


def freeze(stage: Stage, step: Freeze) -> None:
    """See `step.Freeze`."""
    stage.freeze(step.freeze)


def thaw(stage: Stage, step: Thaw) -> None:
    """See `step.Thaw`."""
    stage.thaw(step.thaw)


def limit(stage: Stage, step: Limit) -> None:
    """See `step.Limit`."""
    stage.limit(step.limit)


def lift(stage: Stage, step: Lift) -> None:
    """See `step.Lift`."""
    stage.lift(step.lift)


def send_signal(stage: Stage, step: Signal) -> None:
    """See `step.Signal`."""
    stage.signal(signal.Signals[f"SIG{step.signal}"], step.to, step.again)


def launch(stage: Stage, step: Launch) -> None:
    """See `step.Launch`. A fresh one was launched with these options before the first step."""
    match step.launch:
        case "again":
            stage.relaunch()
        case "another":
            stage.launch_another(step)
        case "second" | "port-taken":
            stage.launch_in_vain(step)


#: What is done for each verb.
PERFORM: dict[type[Step], Callable[[Stage, Any], None]] = {
    Open: acts.open_,
    Send: acts.send,
    Exchange: acts.exchange,
    Reach: acts.reach,
    Stuff: acts.stuff,
    HalfClose: acts.half_close,
    Close: acts.close,
    Reset: acts.reset,
    Vanish: acts.vanish,
    Expect: acts.expect,
    Freeze: freeze,
    Thaw: thaw,
    Limit: limit,
    Lift: lift,
    Signal: send_signal,
    See: sights.see,
    Launch: launch,
    Bind: acts.bind,
    Call: acts.call,
    Idle: acts.idle,
    Mark: sights.mark,
}


class Played(Protocol):
    """What is left of a case that was played: the evidence."""

    transcript: Transcript

    @property
    def evidence(self) -> list[dict[str, Any]]:
        """What was seen of processes."""


class Bench:
    """The target of a worker: one that cases share, and fresh ones for those that need their own.

    Args:
        plan: what is judged, and how.
        builds: what the target's build commands made.
        canary: try one echo before the first case, and block the rest where it fails.
    """

    def __init__(self, plan: Plan, builds: Builds, *, canary: Case | None) -> None:
        self.plan = plan
        self.builds = builds
        self.blocked = ""  # why nothing more is to be tried
        self._canary = canary
        self._shared: Running | None = None

    def start(
        self, options: Launch = USUAL, on: Address | None = None, world: World | None = None
    ) -> Running:
        """A target that listens: launched with the options of a step; where, and in the world, that are given."""
        plan = self.plan
        if plan.target.connect:
            return target.attach(plan.target)
        return target.launch(
            plan.target,
            self.builds,
            scale=plan.scale,
            python=plan.python,
            max_connections=options.max_connections,
            family=options.family,
            serving=options.serving,
            on=on,
            world=world or options.world(),
        )

    def begin(self, beside: Running | None) -> Running:
        """A target that was launched, and perhaps will never listen; where another one is, or on a port that is taken."""
        plan = self.plan
        return target.begin(
            plan.target,
            self.builds,
            python=plan.python,
            family=beside.family if beside else None,
            on=beside.address if beside else None,
            taken=beside is None,
        )

    def play(self, case: Case) -> tuple[Outcome, Played | None]:
        """Play a case once, on the shared target or on one of its own, and leave the shared one as it was."""
        self._sing()
        if self.blocked and case.requirement.id not in CANARY:
            return Outcome(verdict=Verdict.BLOCKED, reason=self.blocked), None
        return self._play(case, self.plan.scale)

    def _sing(self) -> None:
        """The canary: where one echo fails, everything else would fail for the same reason."""
        canary, self._canary = self._canary, None
        if canary is None or self.blocked:
            return
        try:
            # Haste is for what a target never does; what everything depends on gets the usual patience.
            ended, _ = self._play(canary, max(1.0, self.plan.scale))
        except (NotReady, NotInstalled, NotSupported) as error:
            self.blocked = str(error)
            return
        if ended.verdict is not Verdict.PASS:
            said = ended.reason or f"expected {ended.expected}; seen: {ended.seen}"
            # The commonest cause: the server prefixes its replies with PIDs, and nobody said so.
            numbered = (
                re.search(r"b['\"]\d+ ?: ?", ended.seen) and self.plan.target.manifest.reply == "{data}"
            )
            hint = " (does the reply begin with a PID? see --reply)" if numbered else ""
            self.blocked = f"the target does not even echo: {said}{hint}"

    def _play(self, case: Case, scale: float) -> tuple[Outcome, Played | None]:
        stage = None
        number = 0
        error: BaseException | None = None
        connect, manifest = self.plan.target.connect, self.plan.target.manifest
        own = case.spoils and not connect
        if case.held >= limits.WORTH_ASKING:
            tcp = case.family != "unix" if case.family else manifest.transport == "tcp"
            if why := limits.lack(case.held, tcp=tcp, here=connect is None):
                return outcome(Unobservable(why), case.requirement.level), None
        try:
            running = self.start(case.launch) if own else self._share()
        except (NotReady, NotInstalled, NotSupported, OSError) as failure:
            ended: BaseException = failure
            if case.family and isinstance(failure, NotReady):  # it is what the case demands
                ended = Unmet(f"the server to listen on {case.family}, which it declares", str(failure))
            return outcome(ended, case.requirement.level), None
        try:
            stage = Stage(case, running, self.plan.seed, scale, self)
            for step in case.steps:
                number += 1
                PERFORM[type(step)](stage, step)
        except Exception as failure:
            error = failure
        finally:
            try:
                if stage:
                    stage.clear()
            finally:
                if own:
                    running.stop()
                elif error is not None or not self._as_before(case.held):
                    self.discard()
        return outcome(error, case.requirement.level, number), stage

    def _share(self) -> Running:
        if self._shared is None:
            self._shared = self.start()
        return self._shared

    def _as_before(self, held: int) -> bool:
        """The processes of the shared target are what they were before the case, which had so many connections.

        Where others use it, nobody can say.
        """
        running = self._shared
        if running is None or running.observer is None or running.owner is None or self.plan.beside:
            return True
        return wait_for(running.settled, Deadline(crowded(SETTLE_WITHIN * self.plan.scale, held)))

    def discard(self) -> None:
        """The next case gets a fresh target, so that one defect does not colour another's verdict."""
        running, self._shared = self._shared, None
        if running:
            running.stop()

    def close(self) -> None:
        """End the shared target."""
        self.discard()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def judge(case: Case, bench: Bench) -> CaseLine:
    """Play a case as often as the plan says, and say what was seen."""
    plan = bench.plan
    seed = zlib.crc32(f"{plan.seed} {case.id}".encode())
    told: dict[str, Any] = {
        "id": case.id,
        "title": case.title,
        "requirement": case.requirement.id,
        "group": case.requirement.group,
        "level": case.requirement.level,
        "seed": seed,
    }
    if reason := plan.unfit(case):
        return CaseLine(verdict=Verdict.NOT_APPLICABLE, reason=reason, repeats={"n/a": 1}, **told)
    started = time.monotonic()
    outcomes: list[Outcome] = []
    stage: Played | None = None
    for _ in range(plan.repeat):
        ended, played = bench.play(case)
        outcomes.append(ended)
        # The evidence of the first that did not pass is worth more than that of the last that did.
        if stage is None or ended.verdict is not Verdict.PASS:
            stage = played or stage
    ended, repeats = combine(outcomes)
    return CaseLine(
        verdict=ended.verdict,
        reason=ended.reason,
        expected=ended.expected,
        seen=ended.seen,
        step=ended.step,
        seconds=round(time.monotonic() - started, 4),
        repeats=repeats,
        transcript=stage.transcript.events if stage else [],
        processes=stage.evidence if stage else [],
        **told,
    )
