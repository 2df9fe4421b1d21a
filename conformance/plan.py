"""The plan of a run: which target, which cases, and how they are played."""

from __future__ import annotations

import datetime
import hashlib
import sys
from collections.abc import Iterable
from functools import cache

import msgspec

from forkecho.conformance import fixture, known, requirement
from forkecho.conformance.case import Case, expand, matching, templates
from forkecho.conformance.requirement import GROUPS, LEVELS
from forkecho.conformance.target import Target

__all__ = [
    "CANARY",
    "FILTERS",
    "EmptySelection",
    "Plan",
    "Selection",
    "UnknownId",
    "canary",
    "select",
    "spec_digest",
]

#: The requirements whose first case is tried before all others, of servers and of clients.
CANARY = ("ECHO-14", "CLIENT-02")
STRESS_CLIENTS = 64  # more than these are not opened to another host unasked
STRESSFUL = ("RES", "ROB")  # groups


class UnknownId(ValueError):
    """A requirement, a group or a level that does not exist."""


class EmptySelection(ValueError):
    """What was asked for exists, but selects no case."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which cases: all filters must let a case through; an empty one lets all."""

    case: list[str] = []
    requirement: list[str] = []
    group: list[str] = []
    level: list[str] = []


#: Options that leave cases out; in a record's selection there are others besides.
FILTERS = tuple(field.name for field in msgspec.structs.fields(Selection))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker needs to know."""

    target: Target
    selection: Selection = Selection()
    seed: int = 0
    scale: float = 1.0
    repeat: int = 1
    stress: bool = False
    python: str = sys.executable
    strict: bool = False
    #: On which it is decided whether a known failure is still excused: the run's first, in UTC.
    day: datetime.date = msgspec.field(default_factory=lambda: datetime.datetime.now(datetime.UTC).date())
    #: Others use the server meanwhile: only cases that stand that (True), only the others (False), or all (None).
    beside: bool | None = None
    built: str = ""  # the folder of what the target's build commands made, where that was done already

    def unfit(self, case: Case) -> str:
        """Why a case is not to be played against this target, or an empty text."""
        if reason := case.unfit(self.target.manifest):
            return reason
        if self.target.connect is None:
            return ""
        if case.controls:
            return "needs a server that the suite has started, and may signal or end"
        host = self.target.connect[0]
        loopback = host.startswith("127.") or host in ("::1", "localhost")
        if loopback or self.stress:
            return ""
        if case.requirement.group in STRESSFUL:
            return "what strains a server is done to another host only with --stress"
        if case.held > STRESS_CLIENTS:
            return f"more than {STRESS_CLIENTS} clients for another host only with --stress"
        return ""


def select(plan: Plan) -> list[Case]:
    """The cases of a plan.

    Raises:
        UnknownId: a requirement, group or level does not exist; lists those that do.
        EmptySelection: no case is left.
    """
    chosen = plan.selection
    requirements = requirement.load()
    for ids, there_are, what in (
        (chosen.requirement, list(requirements), "requirement"),
        (chosen.group, list(GROUPS), "group"),
        (chosen.level, list(LEVELS), "level"),
    ):
        if unknown := [one for one in ids if one not in there_are]:
            raise UnknownId(f"there is no {what} {unknown[0]!r} (there are {', '.join(there_are)})")
    _refuse_other_role(plan)
    everything = expand(plan.target.manifest)
    if complaint := known.stranger(plan.target.manifest.known, plan.target.manifest):
        raise UnknownId(f"[known] of target {plan.target.name} names {complaint}")
    cases = list(everything.values())
    if chosen.case:
        cases = matching(cases, chosen.case)
    cases = [
        case
        for case in cases
        if case.requirement.id in (chosen.requirement or requirements)
        and case.requirement.group in (chosen.group or GROUPS)
        and case.requirement.level in (chosen.level or LEVELS)
        and (plan.beside is None or plan.beside is not case.solitary)
    ]
    if not cases:
        asked = ", ".join(
            f"{name} {' '.join(value)}" for name, value in msgspec.structs.asdict(chosen).items() if value
        )
        raise EmptySelection(f"no case fits {asked} (see `forkecho list cases`)")
    return cases


def _refuse_other_role(plan: Plan) -> None:
    """What judges clients is not for a server, nor the other way round: name the verb that is meant."""
    role, chosen = plan.target.manifest.role, plan.selection
    verb = "check" if role == "client" else "check-client"
    known = requirement.load()
    others = {stem for stem, (one, _) in templates().items() if known[one.requirement].role != role}
    strangers = [id_ for id_ in chosen.requirement if known[id_].role != role]
    strangers += [
        group
        for group in chosen.group
        if all(one.role != role for one in known.values() if one.group == group)
    ]
    strangers += [glob for glob in chosen.case if glob.partition("@")[0] in others]
    if strangers:
        raise UnknownId(f"{strangers[0]} does not judge a {role}: use `forkecho {verb}`")


def canary(cases: Iterable[Case]) -> Case | None:
    """The case that is tried first."""
    return next((case for case in cases if case.requirement.id in CANARY), None)


@cache
def spec_digest() -> str:
    """A short digest of the requirements and cases: two runs with the same one tried the same things."""
    digest = hashlib.sha256()
    for name in ("requirements", "cases"):
        for path in sorted(fixture.folder(name).glob("*.toml")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
