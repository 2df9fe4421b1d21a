"""What a soak comes to: what grew from what to what, which case failed in how many repeats, what could not be told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import forkecho.conformance.soak.trend as trend
from forkecho.conformance import interval
from forkecho.conformance.result import ExitCode, Verdict
from forkecho.conformance.soak.record import Fault, Repeat, Sample, Soak

__all__ = [
    "HELD",
    "Finding",
    "Watched",
    "amount",
    "ends",
    "exit_code",
    "failed",
    "findings",
    "rests",
    "unjudged",
    "watched",
    "wrong",
]

#: Repeats that a trend of memory takes, the first of which is the warm-up: of three values no interval can be told from nothing.
FEWEST = 4

#: Bytes that memory may seem to grow by over a soak: an arena of CPython's allocator is 256 KiB (1 MiB from 3.10 on), so that
#: one which is taken late is a step of that size, and Linux counts resident pages in batches of up to 64 a thread (256 KiB).
#: Sen's interval tells a step from a slope; this is for two or three of them. A leak of 100 bytes a connection is above
#: it after 11,000 connections, which is ten minutes of the load.
SLACK = 1 << 20

#: Of what there is, the part that memory may seem to grow by: caches of a large server fill slowly.
SLACK_SHARE = 0.02

#: What is wrong with a case; a broken SHOULD is only with --strict.
BAD = (Verdict.FAIL, Verdict.UNSTABLE, Verdict.BLOCKED)


#: The findings that are about what the server holds.
HELD = ("server", "descriptors", "processes", "zombies", "memory")


class Finding(NamedTuple):
    """Something that is not as it should be, in a sentence."""

    what: str  # descriptors, processes, zombies, memory, a case's id, load, server, suite
    words: str


class Watched(NamedTuple):
    """One of the things that are watched, at rest after the warm-up."""

    what: str
    title: str
    unit: str
    values: tuple[float, ...]

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The greatest value."""
        return max(self.values)


def rests(soak: Soak) -> list[Sample]:
    """The samples at rest after the warm-up, which is the first repeat: what is set up once, at the first need, is no leak."""
    # Both were rounded, as the time of a sample is: their sum has digits that were never measured.
    warm = [round(repeat.t + repeat.seconds, 3) for repeat in soak.repeats if repeat.whole][:1]
    return [one for one in soak.samples if warm and one.phase == "rest" and one.t >= warm[0]]


def ends(soak: Soak) -> list[Sample]:
    """Of the samples at rest after the warm-up the last of each repeat.

    A repeat grows where the load is in it; by its other rests a slope would look like steps.
    """
    starts = [repeat.t for repeat in soak.repeats][1:]
    found = {sum(start < one.t for start in starts): one for one in rests(soak)}
    return list(found.values())


def watched(samples: Sequence[Sample]) -> list[Watched]:
    """What is watched, by name, of these samples."""
    private = [one.private for one in samples if one.private is not None]
    found = [
        Watched("descriptors", "descriptors", "", tuple(one.descriptors for one in samples)),
        Watched("processes", "processes", "", tuple(one.processes for one in samples)),
        Watched("zombies", "zombies", "", tuple(one.zombies for one in samples)),
        Watched("private", "private memory", "B", tuple(private)),
        Watched("rss", "resident memory", "B", tuple(one.rss for one in samples)),
    ]
    return [one for one in found if one.values]


def amount(value: float, unit: str = "") -> str:
    """A number for people: memory in kB (1000 bytes), all else as it is."""
    return f"{value / 1000:,.0f} kB" if unit == "B" else f"{value:,.0f}"


def findings(soak: Soak) -> list[Finding]:
    """All that is not as it should be, the server first."""
    found: list[Finding] = []
    if soak.footer.ended:
        found.append(Finding("server", soak.footer.ended))
    found += _grown(rests(soak))
    worst = max(
        (one for one in soak.samples if one.phase == "rest"), key=lambda one: one.zombies, default=None
    )
    if worst and worst.zombies:
        many = f"{worst.zombies} zombie{'' if worst.zombies == 1 else 's'}"
        found.append(
            Finding("zombies", f"zombies: {many} at rest after {worst.t:.0f} s, where there must be none")
        )
    found += memory(ends(soak))
    if soak.footer.wrong:
        many = interval.of(soak.footer.load.get("wrong", 0), soak.footer.load.get("opened", 0))
        found.append(Finding("load", f"the load: wrong replies, {many}: {soak.footer.wrong[0]}"))
    return [*found, *failed(soak)]


def _grown(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Descriptors and processes, that must be what they were."""
    for what in ("descriptors", "processes"):
        values = [getattr(one, what) for one in samples]
        if not values:
            continue
        first, last = values[0], values[-1]
        over = f"over {samples[-1].t - samples[0].t:.0f} s, {len(values)} samples at rest"
        if max(values) > first:
            verb = (
                f"grew from {first} to {last}"
                if last > first
                else f"rose from {first} to {max(values)} and fell again"
            )
            yield Finding(what, f"{what} {verb} ({over})")
        elif what == "processes" and last < first:
            yield Finding(what, f"processes fell from {first} to {last} ({over})")


def memory(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Memory, that must have no trend: the private one, or where that cannot be seen the resident one."""
    if len(samples) < FEWEST:
        return
    private = all(one.private is not None for one in samples)
    points = [(one.t, float((one.private or 0) if private else one.rss)) for one in samples]
    span = points[-1][0] - points[0][0]
    middle = sorted(value for _, value in points)[len(points) // 2]
    growth = trend.slope(points) * span
    if trend.surely(points) <= 0 or growth <= max(SLACK, SLACK_SHARE * middle):
        return
    served = samples[-1].served - samples[0].served
    each = (
        f", {growth / served:,.0f} bytes for each of {served:,} connections of the load" if served > 0 else ""
    )
    yield Finding(
        "memory",
        f"{'private' if private else 'resident'} memory grew from {amount(points[0][1], 'B')} to {amount(points[-1][1], 'B')}"
        f" ({amount(growth, 'B')} by its trend over {span:.0f} s{each})",
    )


def wrong(soak: Soak, repeat: Repeat) -> list[Fault]:
    """The cases of a repeat that fail the soak; a broken SHOULD does only with --strict."""
    bad = (*BAD, *((Verdict.WARN,) if soak.header.selection.get("strict") else ()))
    return [fault for fault in repeat.faults if fault.verdict in bad]


def failed(soak: Soak) -> Iterator[Finding]:
    """The cases that failed, each with the number of repeats in which it did, and what was seen the first time."""
    faults: dict[str, list[Fault]] = {}
    for fault in (fault for repeat in soak.repeats for fault in wrong(soak, repeat)):
        faults.setdefault(fault.id, []).append(fault)
    for id_, these in sorted(faults.items()):
        first = these[0]
        seen = first.reason if not first.seen else f"expected {first.expected}; seen: {first.seen}"
        often = interval.of(len(these), _tried(soak.repeats, id_))
        yield Finding(id_, f"{first.requirement} {id_} {Verdict(first.verdict).past} {often}: {seen}")


def _tried(repeats: Iterable[Repeat], id_: str) -> int:
    """In how many repeats a case was tried: whole ones, and others in which it failed."""
    return sum(one.whole or any(fault.id == id_ for fault in one.faults) for one in repeats)


def unjudged(soak: Soak) -> list[Finding]:
    """What could not be told."""
    found = []
    count = len(ends(soak))
    if not any(repeat.whole for repeat in soak.repeats):
        found.append(
            Finding("suite", "no repeat of the suite was played to its end, so nothing is told of steadiness")
        )
    elif count < FEWEST:
        why = f"{count} repeat{'' if count == 1 else 's'}, {FEWEST} are needed: soak longer"
        what = "memory" if count > 1 else "descriptors, processes and memory"
        found.append(Finding("memory", f"{what}: not judged ({why})"))
    if soak.footer.broken:
        found.append(Finding("suite", soak.footer.broken))
    broken = {
        fault.id: fault for one in soak.repeats for fault in one.faults if fault.verdict == Verdict.BROKEN
    }
    found += [Finding(id_, f"{id_} broken: {fault.reason}") for id_, fault in sorted(broken.items())]
    unseen = {f.id: f for one in soak.repeats for f in one.faults if f.verdict == Verdict.INCONCLUSIVE}
    if soak.header.selection.get("strict"):
        found += [
            Finding(id_, f"{id_} inconclusive: {fault.reason}") for id_, fault in sorted(unseen.items())
        ]
    return found


def exit_code(soak: Soak) -> ExitCode:
    """The exit code of a soak, in the order of the design: what is interrupted, what the suite could not do, what grew."""
    if soak.footer.interrupted:
        return 130
    broken = soak.footer.broken or any(
        fault.verdict == Verdict.BROKEN for one in soak.repeats for fault in one.faults
    )
    if broken:
        return 3
    if findings(soak):
        return 1
    return 3 if unjudged(soak) else 0
