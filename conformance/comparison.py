"""Two runs compared, case by case: what got worse, better, new, gone, or changed otherwise.

The verdicts from good to bad: pass and fixed, known, warn, inconclusive, unstable, fail, blocked, broken.  A change down
this order is worse: what is no longer seen to hold (inconclusive) is worse than what was.  A change up is better, with
three exceptions that are neither: one to inconclusive, blocked or broken, since nothing gets better by not being seen; one
from these to anything but pass and fixed, since nobody saw it fail before; and one from a failure to known, since nothing
gets better by being listed.  A case that does not apply (n/a) counts as
one that is not there: it is new when it applies, and gone when it no longer does.  What is new and unstable, failed, blocked
or broken is worse as well, for nobody has failed it before.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import msgspec

from forkecho.conformance import requirement
from forkecho.conformance.renewal import pattern
from forkecho.conformance.result import CaseLine, Header, Run, Verdict

__all__ = ["ORDER", "Change", "Difference", "Kind", "compare"]

#: From good to bad; on one line are those that are equally good.
ORDER: tuple[tuple[Verdict, ...], ...] = (
    (Verdict.PASS, Verdict.FIXED),
    (Verdict.KNOWN,),
    (Verdict.WARN,),
    (Verdict.INCONCLUSIVE,),
    (Verdict.UNSTABLE,),
    (Verdict.FAIL,),
    (Verdict.BLOCKED,),
    (Verdict.BROKEN,),
)
RANKS = {verdict: rank for rank, verdicts in enumerate(ORDER) for verdict in verdicts}

#: Verdicts by which nothing is seen, and so nothing seen to be better.
UNSEEN = (Verdict.INCONCLUSIVE, Verdict.BLOCKED, Verdict.BROKEN)

#: Verdicts by which it is seen to hold.
HOLDS = (Verdict.PASS, Verdict.FIXED)

#: Verdicts with something seen that can be another thing the next time.
SEEN = (Verdict.FAIL, Verdict.WARN, Verdict.KNOWN)

#: From here on, what is new is worse than nothing.
BAD = RANKS[Verdict.UNSTABLE]


class Kind(StrEnum):
    """What became of a case."""

    WORSE = "worse"
    BETTER = "better"
    NEW = "new"
    GONE = "gone"
    CHANGED = "changed"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A case that is not as it was; `before` or `after` is None where it was not there or did not apply."""

    kind: Kind
    before: CaseLine | None
    after: CaseLine | None

    @property
    def case(self) -> CaseLine:
        """The case as it is, or was."""
        case = self.after or self.before
        assert case
        return case


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What is different.

    Attributes:
        changes: by requirement and case.
        same: how many cases are as they were.
        warnings: why the two runs may not be comparable.
    """

    changes: tuple[Change, ...]
    same: int
    warnings: tuple[str, ...]

    def of(self, kind: Kind) -> list[Change]:
        """The changes of a kind."""
        return [change for change in self.changes if change.kind is kind]

    @property
    def worse(self) -> bool:
        """Something got worse, or is new and fails."""
        return any(change.kind is Kind.WORSE for change in self.changes)


def compare(old: Run, new: Run) -> Difference:
    """What is different in the new run."""
    before = {case.id: case for case in old.cases if case.verdict is not Verdict.NOT_APPLICABLE}
    after = {case.id: case for case in new.cases if case.verdict is not Verdict.NOT_APPLICABLE}
    changes = []
    for id_ in before.keys() | after.keys():
        was, is_ = before.get(id_), after.get(id_)
        if kind := _kind(was, is_):
            changes.append(Change(kind=kind, before=was, after=is_))
    order = {id_: number for number, id_ in enumerate(requirement.load())}

    def place(change: Change) -> tuple[int, str, str]:
        case = change.case
        return order.get(case.requirement, len(order)), case.requirement, case.id

    return Difference(
        changes=tuple(sorted(changes, key=place)),
        same=len(before.keys() | after.keys()) - len(changes),
        warnings=tuple(_warnings(old, new)),
    )


def _kind(was: CaseLine | None, is_: CaseLine | None) -> Kind | None:
    """What became of a case; None where nothing did."""
    if is_ is None:
        return Kind.GONE
    rank = RANKS[is_.verdict]
    if was is None:
        return Kind.WORSE if rank >= BAD else Kind.NEW
    if rank > RANKS[was.verdict]:
        return Kind.WORSE
    gained = is_.verdict not in (*UNSEEN, Verdict.KNOWN) and was.verdict not in UNSEEN
    if rank < RANKS[was.verdict] and (gained or is_.verdict in HOLDS):
        return Kind.BETTER
    if is_.verdict is not was.verdict:
        return Kind.CHANGED
    # Another failure is news; other PIDs and times in the same words are none.
    other = is_.verdict in SEEN and not re.search(pattern(was.seen), is_.seen)
    return Kind.CHANGED if other else None


def _warnings(old: Run, new: Run) -> list[str]:
    """Why what is different may not be the target's doing."""
    told = []
    ours = {"known", "listed", "given", "name", "title", "manifest"}
    one, other = old.header.target, new.header.target
    if (name := one.get("name")) != other.get("name"):
        told.append(f"the targets are different: {name}, {other.get('name')}")
    elif keys := sorted(
        key for key in (one.keys() | other.keys()) - ours if _told(one, key) != _told(other, key)
    ):
        told.append(f"the targets declare different things: {', '.join(keys)}")
    pythons = [_python(run.header) for run in (old, new)]
    # Of an older record it is not known which Python it was, but for the option.
    apart = {"python"} if all(pythons) else set()
    selections = [
        {key: value for key, value in run.header.selection.items() if key not in apart} for run in (old, new)
    ]
    for what, first, second in (
        ("Pythons", *(pythons if apart else ("", ""))),
        ("specifications", old.header.spec, new.header.spec),
        ("selections", *selections),
        ("seeds", old.header.seed, new.header.seed),
    ):
        if first != second:
            told.append(f"the {what} are different: {_said(first)}, {_said(second)}")
    for which, run in (("old", old), ("new", new)):
        if run.footer.interrupted:
            told.append(f"the {which} run was interrupted")
        elif run.footer.exit == 4:
            told.append(f"the target of the {which} run never became ready")
    return told


def _told(target: dict[str, Any], key: str) -> object:
    """What a target declares by a key; by one that its forkecho did not know yet, nothing."""
    return target.get(key) or None


def _python(header: Header) -> str:
    """What the interpreter says that ran the target; where it stands makes no difference."""
    names = ("implementation", "release", "version")
    return " ".join(str(header.python[name]) for name in names if name in header.python)


def _said(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    said = (
        f"{key} {' '.join(map(str, one)) if isinstance(one, list) else one}" for key, one in value.items()
    )
    return "; ".join(said) or "everything"
