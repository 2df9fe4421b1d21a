"""What must be known for a run to be green: the entries of a list that still hold, and new ones for what fails."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import msgspec

from forkecho.conformance import requirement
from forkecho.conformance.known import entries
from forkecho.conformance.manifest import Known, concerns
from forkecho.conformance.plan import FILTERS, spec_digest
from forkecho.conformance.result import CaseLine, Run, Verdict
from forkecho.conformance.verdict import BAD, excuse, excused, settle

__all__ = ["NotRenewable", "Renewal", "begun", "pattern", "refuse", "renew"]

LONGEST = 300  # characters of a pattern; where it would be longer, what was seen is cut, and what follows may be anything

#: Verdicts after which nobody knows whether the case fails.
UNJUDGED = (Verdict.BROKEN, Verdict.BLOCKED, Verdict.UNSTABLE, Verdict.INCONCLUSIVE)

#: Text in quotes of either kind, as repr() writes it; without quotes of its own, to stand in any kind of TOML string.
QUOTED = r"(?s:\x27(?:\\.|[^\x27\\])*\x27|\x22(?:\\.|[^\x22\\])*\x22)"

#: What differs from run to run in what is seen, with the pattern that it becomes, in the order in which they are tried.
#: Each ends before something that its pattern cannot fit: so a pattern made of them fits in one way only, and what does
#: not fit is found out in one go, however long it is.
CHANGING = {
    QUOTED: QUOTED,  # bytes of a payload, the end of an output
    r"\S*/\S*": r"\S+",  # a path
    r"(?<![\w.])(?:[0-9a-f]{2}){4,}\b": r"[0-9a-f]+",  # bytes in hexadecimal
    r"\d[\d.]*": r"[\d.]+",  # a PID, a port, an address, a count, a time
}

SEPARATOR = ", "


class NotRenewable(ValueError):
    """No list of known failures can be made of a run; says why."""


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """A list as it must be.

    Attributes:
        entries: all of them.
        new: those that were not in it, or meant another failure.
        dropped: why those that were in it are no longer.
        renewed: those whose expiry date was set anew, or that turn out to come by chance.
        widened: those that mean another failure as well.
    """

    entries: dict[str, Known]
    new: list[str]
    dropped: dict[str, str]
    renewed: list[str]
    widened: list[str]


def renew(
    runs: Sequence[Run],
    listed: Mapping[str, Known] | None,
    *,
    reason: str = "",
    expires: datetime.date | None = None,
) -> Renewal:
    """The list with which the same runs would have been green.

    Args:
        runs: all cases of a target, each judged, once or more; what failed in some of them comes by chance.
        listed: what is in the list now; None for all that was known in the runs.
        reason: of new entries.
        expires: of new entries, and of those that have expired.

    Raises:
        NotRenewable: a part only was run or judged, or an entry that stands elsewhere fails a run.
    """
    for run in runs:
        refuse(run)
    if len({_target(run) for run in runs}) > 1:
        raise NotRenewable("the runs are of different targets")
    day, strict = max(map(begun, runs)), any(run.header.selection.get("strict") for run in runs)
    known = {
        entry: one
        for run in runs
        for entry, one in entries(run.header.target.get("known", {}), "the record").items()
    }
    from_file = {entry for run in runs for entry in run.header.target.get("listed", ())}
    own = dict(known if listed is None else listed)
    others = {entry: one for entry, one in known.items() if entry not in own and entry not in from_file}
    played = [[as_played(case) for case in run.cases] for run in runs]
    cases = sorted((case for one in played for case in one), key=lambda case: case.id)
    kept, dropped, renewed = _kept(own, cases, day, expires)
    new: dict[str, Known] = {}
    widened: dict[str, Known] = {}
    for id_, these in groupby(cases, key=lambda case: case.id):
        lines = list(these)
        left = [excused({**others, **kept}, case, day).verdict for case in lines]
        if Verdict.FAIL in left or (strict and Verdict.WARN in left):
            by_chance = Verdict.PASS in left
            failed = [case for case in lines if case.verdict in BAD]
            if entry := kept.get(id_):
                # It still holds, so that what somebody has written there is not lost for one more way to fail.
                others_seen = (pattern(case.seen) for case in failed if not entry.fits(case.seen))
                widened[id_] = msgspec.structs.replace(
                    entry,
                    sometimes=entry.sometimes or by_chance,
                    seen="|".join(dict.fromkeys((entry.seen, *others_seen))),
                )
                continue
            patterns = dict.fromkeys(pattern(case.seen) for case in failed)
            new[id_] = Known(reason, sometimes=by_chance, seen="|".join(patterns), expires=expires)
            dropped.pop(id_, None)
    kept |= new | widened
    for one in played:
        everything = {**others, **kept}
        sizes = {entry: len(_concerned(entry, one)) for entry in everything}
        settled = settle(one, everything, sizes, day)
        for case in (case for case in settled if case.verdict is Verdict.FIXED):
            mine = [entry for entry in kept if concerns(entry, case.id, case.requirement)]
            if not mine:
                raise NotRenewable(
                    f"{case.id} is {case.reason}; the entry stands in the manifest, where this cannot drop it"
                )
            # It failed in another run, or it would have been dropped.
            kept |= {entry: msgspec.structs.replace(kept[entry], sometimes=True) for entry in mine}
            renewed += [entry for entry in mine if entry not in (*new, *renewed)]
    return Renewal(entries=kept, new=list(new), dropped=dropped, renewed=renewed, widened=list(widened))


def _target(run: Run) -> bytes:
    """What was judged, to be compared; which failures were known is not a part of it."""
    told = {key: value for key, value in run.header.target.items() if key not in ("known", "listed", "given")}
    return msgspec.json.encode(told, order="deterministic")


def begun(run: Run) -> datetime.date:
    """The day on which a run began.

    Raises:
        NotRenewable: the record does not say it.
    """
    try:
        return datetime.date.fromisoformat(run.header.started[:10])
    except ValueError:
        raise NotRenewable(
            f"the record says of no day that it began then, but {run.header.started!r}"
        ) from None


def refuse(run: Run) -> None:
    """Complain of a run that does not say of each case whether it fails.

    Raises:
        NotRenewable: see there.
    """
    chosen = [f"--{name}" for name in FILTERS if run.header.selection.get(name)]
    if chosen:
        raise NotRenewable(f"only a part was judged ({', '.join(chosen)}): judge all cases")
    if run.footer.interrupted:
        raise NotRenewable("the run was interrupted: judge all cases")
    if run.footer.exit == 4:
        raise NotRenewable("the target never became ready, so that nothing was judged")
    if run.header.spec != spec_digest():
        raise NotRenewable("the run was made with another specification: judge again")
    for verdict in UNJUDGED:
        if ids := sorted(case.id for case in run.cases if case.verdict is verdict):
            more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            raise NotRenewable(f"{ids[0]}{more} ended {verdict.value}: whether it fails is not known")


def as_played(case: CaseLine) -> CaseLine:
    """The result as it was before any list was asked."""
    verdict = case.verdict
    if verdict is Verdict.FIXED:
        verdict = Verdict.PASS
    elif verdict in (Verdict.KNOWN, *BAD):
        verdict = Verdict.FAIL if case.level == "must" else Verdict.WARN
    return msgspec.structs.replace(case, verdict=verdict, reason="")


def pattern(seen: str) -> str:
    """A pattern for `seen` of a list: it fits the same words, whatever PIDs, ports, times, paths and payloads they name."""
    whole = _pattern(seen, len(seen))
    return whole if len(whole) <= LONGEST else _pattern(seen, LONGEST)


def _pattern(seen: str, until: int) -> str:
    """A pattern for so many characters, not broken in the middle of something that changes."""
    changing = re.compile("|".join(f"({one})" for one in CHANGING))
    instead = tuple(CHANGING.values())
    tokens: list[str] = []
    at = 0
    for one in changing.finditer(seen):
        if one.start() >= until:
            break
        tokens += [*_literals(seen[at : one.start()]), instead[(one.lastindex or 1) - 1]]
        at = one.end()
    tokens += _literals(seen[at:until])
    end = "$" if until >= len(seen) else ""
    shorter = f"^{''.join(_collapsed(tokens))}{end}"
    # Where what follows a list looks like one more of it, it is taken by the letter.
    return shorter if re.search(shorter, seen) else f"^{''.join(tokens)}{end}"


def _collapsed(tokens: list[str]) -> Iterator[str]:
    """The tokens with several of a kind, processes for instance, as one or more: there may be others the next time."""
    at, end = 0, -1
    while at < len(tokens):
        if end < at:
            end = tokens.index(SEPARATOR, at) if SEPARATOR in tokens[at:] else len(tokens)
        after, size = end, end - at + 1
        if tokens[at : at + 1] == tokens[end + 1 : end + 2] and tokens[at] not in (" ", SEPARATOR):
            while tokens[after + 1 : after + size] == tokens[at:end]:
                after += size
        if after > end:
            one = "".join(tokens[at:end])
            # Possessive: what was taken is not given back, or each list would double the time to find no fit.
            yield f"{one}(?:{SEPARATOR}{one})*+"
            at = after
        else:
            yield tokens[at]
            at += 1


def _literals(text: str) -> list[str]:
    """Patterns that fit the words of the text alone, one by one."""
    return [
        one if one == SEPARATOR else "".join(map(_literal, one)) for one in re.findall(", |[^ ,]+|[ ,]", text)
    ]


def _literal(one: str) -> str:
    """A pattern for a character; where it cannot be printed, for any such (white space is what a path ends at)."""
    if one == " ":
        return one
    return re.escape(one) if one.isprintable() else r"\s" if one.isspace() else r"[\s\S]"


def _kept(
    own: Mapping[str, Known], cases: list[CaseLine], day: datetime.date, expires: datetime.date | None
) -> tuple[dict[str, Known], dict[str, str], list[str]]:
    """The entries that still hold, why the others do not, and which of them were given another date."""
    kept: dict[str, Known] = {}
    dropped: dict[str, str] = {}
    renewed = []
    # Which entry a failure is told by depends on the others, and on none of their dates.
    timeless = {entry: msgspec.structs.replace(one, expires=None) for entry, one in own.items()}
    telling = [excuse(timeless, case, day) for case in cases if case.verdict in BAD]
    for entry, one in own.items():
        judged = [case for case in _concerned(entry, cases) if case.verdict is not Verdict.NOT_APPLICABLE]
        tells = any(timeless[entry] is told for told in telling)
        if not judged and entry not in requirement.load() and not _concerned(entry, cases):
            dropped[entry] = "there is no such case any more"
        elif tells and one.over(day):
            if expires is None:
                raise NotRenewable(
                    f"{entry} was known until {one.expires}, and still fails: give --expires DATE"
                )
            kept[entry] = msgspec.structs.replace(one, expires=expires)
            renewed.append(entry)
        elif tells or not judged or (one.sometimes and not one.over(day)):
            kept[entry] = one
        else:
            passes = all(case.verdict is Verdict.PASS for case in judged)
            dropped[entry] = "fixed" if passes else "what it describes is not seen any more"
    return kept, dropped, renewed


def _concerned(entry: str, cases: list[CaseLine]) -> list[CaseLine]:
    return [case for case in cases if concerns(entry, case.id, case.requirement)]
