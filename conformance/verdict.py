"""Whose fault an ending is: from what ended a case to its verdict, and from all verdicts to an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping

import msgspec

from forkecho.conformance.guard import GuardianLost
from forkecho.conformance.manifest import Known, concerns
from forkecho.conformance.requirement import Level
from forkecho.conformance.result import CaseLine, ExitCode, Verdict
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
    """A verdict with its words."""

    verdict: Verdict
    reason: str = ""
    expected: str = ""
    seen: str = ""


def outcome(error: BaseException | None, level: Level) -> Outcome:
    """What an ending means: the target's fault, nobody's, or ours."""
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
    said = ", ".join(f"{verdict} {count} of {len(outcomes)}" for verdict, count in sorted(counts.items()))
    return msgspec.structs.replace(
        worst, verdict=Verdict.UNSTABLE, reason=f"the same case ended differently: {said}"
    ), counts


def excuse(known: Mapping[str, Known], line: CaseLine) -> Known | None:
    """The known failure that this one is; the entry for the very case is asked first, then the others in their order."""
    entries = sorted(known, key=lambda entry: entry != line.id)
    return next(
        (
            known[entry]
            for entry in entries
            if concerns(entry, line.id, line.requirement) and known[entry].fits(line.seen)
        ),
        None,
    )


def excused(known: Mapping[str, Known], line: CaseLine) -> CaseLine:
    """The result with its failure told as `known`, if it is."""
    if line.verdict in BAD and (entry := excuse(known, line)):
        return msgspec.structs.replace(line, verdict=Verdict.KNOWN, reason=entry.reason)
    return line


def settle(
    cases: Iterable[CaseLine], known: Mapping[str, Known], all_of: Mapping[str, int]
) -> list[CaseLine]:
    """Apply the known failures: a listed failure is `known`, a listed one that passes is `fixed`.

    Args:
        cases: the results of the run.
        known: by requirement, case, or glob of cases.
        all_of: how many cases each entry speaks of. An entry is out of date only when all of them were run and none
            failed; one that was not run might still fail.
    """
    found = list(cases)
    fixed: dict[str, str] = {}
    for entry in (entry for entry, said in known.items() if not said.sometimes):
        concerned = [case for case in found if concerns(entry, case.id, case.requirement)]
        passed = [case for case in concerned if case.verdict is Verdict.PASS]
        judged = [case for case in concerned if case.verdict is not Verdict.NOT_APPLICABLE]
        complete = len(concerned) == all_of.get(entry, 1)
        if passed and complete and len(passed) == len(judged):
            fixed |= {case.id: known[entry].reason for case in passed}

    def settled(case: CaseLine) -> CaseLine:
        if case.id in fixed:
            said = f"listed as known ({fixed[case.id]}), but it passes: take it off the list"
            return msgspec.structs.replace(case, verdict=Verdict.FIXED, reason=said)
        return excused(known, case)

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
