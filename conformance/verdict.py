"""Whose fault an ending is: from what ended a case to its verdict, and from all verdicts to an exit code."""

from __future__ import annotations

import datetime
import traceback
from collections.abc import Iterable, Mapping

import msgspec

from forkecho.conformance import interval
from forkecho.conformance.guard import GuardianLost
from forkecho.conformance.manifest import Known, concerns
from forkecho.conformance.requirement import Level
from forkecho.conformance.result import PAST, CaseLine, ExitCode, Verdict
from forkecho.conformance.target import NotInstalled, NotReady, NotSupported

__all__ = [
    "Inapplicable",
    "Outcome",
    "Unmet",
    "Unobservable",
    "combine",
    "excuse",
    "excused",
    "exit_code",
    "outcome",
    "repeated",
    "settle",
]


#: What a known failure may excuse.
BAD = (Verdict.FAIL, Verdict.WARN)


class Unmet(Exception):
    """The target did not do what it must; both sides are words for people.

    Raised by the interpreter alone, so that nothing else can be taken for a failure of the target.
    """

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected, self.seen = expected, seen


class Unobservable(Exception):
    """What the case must look at cannot be seen; says why."""


class Inapplicable(Exception):
    """The server turns out to be outside what the requirement is about; says how."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with its words, and the number of the step that ended the case (see `CaseLine.step`)."""

    verdict: Verdict
    reason: str = ""
    expected: str = ""
    seen: str = ""
    step: int = 0


def outcome(error: BaseException | None, level: Level, step: int = 0) -> Outcome:
    """What an ending means: the target's fault, nobody's, or ours; `step` is the one that it came of."""
    return msgspec.structs.replace(_meaning(error, level), step=step if error else 0)


def _meaning(error: BaseException | None, level: Level) -> Outcome:
    match error:
        case None:
            return Outcome(verdict=Verdict.PASS)
        case Unmet():
            verdict = Verdict.FAIL if level == "must" else Verdict.WARN
            return Outcome(verdict=verdict, expected=error.expected, seen=error.seen)
        case Inapplicable():
            return Outcome(verdict=Verdict.NOT_APPLICABLE, reason=str(error))
        case Unobservable() | NotSupported():
            return Outcome(verdict=Verdict.INCONCLUSIVE, reason=str(error))
        case NotReady() | NotInstalled():
            # It was ready before, or the run would have ended: this once it could not be looked at.
            return Outcome(
                verdict=Verdict.INCONCLUSIVE, reason=f"the target did not start for this case: {error}"
            )
        case GuardianLost():
            return Outcome(verdict=Verdict.BROKEN, reason=str(error))
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" in {place[0].name}, line {place[0].lineno}" if place else ""
    return Outcome(verdict=Verdict.BROKEN, reason=f"{type(error).__name__}: {error}{where}")


def combine(outcomes: list[Outcome]) -> tuple[Outcome, dict[str, int]]:
    """One outcome of the repeats of a case, and how often each verdict was given; they must all be the same."""
    counts: dict[str, int] = {}
    for one in outcomes:
        counts[one.verdict.value] = counts.get(one.verdict.value, 0) + 1
    if len(counts) == 1:
        return outcomes[-1], counts
    worst = next((one for one in outcomes if one.verdict is not Verdict.PASS), outcomes[0])
    if worst.verdict is Verdict.BROKEN:
        return worst, counts
    reason = f"the same case ended differently: {repeated(counts)}"
    return msgspec.structs.replace(worst, verdict=Verdict.UNSTABLE, reason=reason), counts


def repeated(counts: Mapping[str, int]) -> str:
    """How often a case ended in each way, the commonest last; what is rare with the interval of its true share."""
    total = sum(counts.values())
    *rare, (usual, count) = sorted(counts.items(), key=lambda one: (one[1], one[0]))
    told = [f"{PAST.get(verdict, verdict)} {interval.of(times, total)}" for verdict, times in rare]
    # Where two are all there is, the one interval tells the other.
    return "; ".join([*told, f"{PAST.get(usual, usual)} {count if rare else interval.of(count, total)}"])


def excuse(known: Mapping[str, Known], line: CaseLine, day: datetime.date) -> Known | None:
    """The known failure that this one is; the entry for the very case is asked first, then the others in their order."""
    return next((one for one in _about(known, line) if one.fits(line.seen) and not one.over(day)), None)


def excused(known: Mapping[str, Known], line: CaseLine, day: datetime.date) -> CaseLine:
    """The result with its failure told as `known`, if it is.

    A listed failure that is no longer excused, or is not the one that was meant, fails the run even where it is a
    SHOULD that is broken: what the list says is not so any more.
    """
    if line.verdict not in BAD:
        return line
    if entry := excuse(known, line, day):
        return msgspec.structs.replace(line, verdict=Verdict.KNOWN, reason=entry.reason)
    about = _about(known, line)
    if over := next((one for one in about if one.fits(line.seen)), None):
        said = f"known until {over.expires} ({over.reason}), which is over"
    elif other := next((one for one in about if not one.sometimes), None):
        said = f"a known failure ({other.reason}), but it failed differently: what was seen does not fit {other.seen!r}"
    else:
        # One that comes by chance does not claim that this case fails in its way.
        return line
    return msgspec.structs.replace(line, verdict=Verdict.FAIL, reason=said)


def _about(known: Mapping[str, Known], line: CaseLine) -> list[Known]:
    """The entries that speak of a case, the one for the very case first."""
    ordered = sorted(known, key=lambda entry: entry != line.id)
    return [known[entry] for entry in ordered if concerns(entry, line.id, line.requirement)]


def settle(
    cases: Iterable[CaseLine], known: Mapping[str, Known], all_of: Mapping[str, int], day: datetime.date
) -> list[CaseLine]:
    """Apply the known failures: a listed failure is `known`, a listed one that passes is `fixed`.

    Args:
        cases: the results of the run.
        known: by requirement, case, or glob of cases.
        all_of: how many cases each entry speaks of. An entry is out of date only when all of them were run and none
            failed; one that was not run might still fail.
        day: on which the run began; what has expired by then is not excused.
    """
    found = list(cases)
    fixed: dict[str, str] = {}
    for entry, said in known.items():
        # What comes by chance may pass; but once it has expired, the entry is to be taken off the list all the same.
        if said.sometimes and not said.over(day):
            continue
        concerned = [case for case in found if concerns(entry, case.id, case.requirement)]
        passed = [case for case in concerned if case.verdict is Verdict.PASS]
        judged = [case for case in concerned if case.verdict is not Verdict.NOT_APPLICABLE]
        complete = len(concerned) == all_of.get(entry, 1)
        if passed and complete and len(passed) == len(judged):
            until = f", until {said.expires}" if said.over(day) else ""
            fixed |= {case.id: f"listed as known ({said.reason}{until})" for case in passed}

    def settled(case: CaseLine) -> CaseLine:
        if case.id in fixed:
            said = f"{fixed[case.id]}, but it passes: take it off the list"
            return msgspec.structs.replace(case, verdict=Verdict.FIXED, reason=said)
        return excused(known, case, day)

    return [settled(case) for case in found]


def exit_code(cases: Iterable[CaseLine], *, strict: bool = False, interrupted: bool = False) -> ExitCode:
    """The exit code of a run; where several hold, the order is that of the design: 5, 3, 1, 0."""
    seen = {case.verdict for case in cases}
    if interrupted:
        return 130
    if not seen or seen == {Verdict.NOT_APPLICABLE}:
        return 5
    nothing_passed = Verdict.INCONCLUSIVE in seen and seen <= {Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE}
    if Verdict.BROKEN in seen or nothing_passed or (strict and Verdict.INCONCLUSIVE in seen):
        return 3
    if seen & {Verdict.FAIL, Verdict.FIXED, Verdict.UNSTABLE, Verdict.BLOCKED} or (
        strict and Verdict.WARN in seen
    ):
        return 1
    return 0
