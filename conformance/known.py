"""Failures that are known: which there are in a file, and whether each speaks of something that exists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from forkecho.conformance import fixture, requirement
from forkecho.conformance.case import expand
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.manifest import Known, Manifest, concerns
from forkecho.conformance.nearest import nearest
from forkecho.conformance.target import Target

__all__ = ["entries", "load", "stranger", "with_file"]

WANTED = 'what is wanted is a table [known], with entries such as "ECHO-10" = "the reason"'


def load(path: Path) -> dict[str, Known]:
    """The known failures of a file that has the table `[known]` and nothing else.

    Raises:
        BadFixture: the file is malformed; says the entry and what would be right.
    """
    raw = fixture.read(path)
    if strangers := sorted(set(raw) - {"known"}):
        raise BadFixture(
            f"{path}: {strangers[0]!r} has no place here: a file of known failures has the table [known] alone"
        )
    if "known" not in raw:
        raise BadFixture(f"{path}: {WANTED}")
    return entries(raw["known"], str(path))


def entries(raw: object, place: str) -> dict[str, Known]:
    """The entries of a table `[known]` as it stands in a file.

    Raises:
        BadFixture: an entry is malformed; the complaint begins with `place` and names the entry.
    """
    if not isinstance(raw, dict):
        raise BadFixture(f"{place}: {WANTED}")
    found = {}
    for entry, said in raw.items():
        where = f"{place}: known {entry!r}"
        if not isinstance(said, str | dict):
            raise BadFixture(
                f"{where}: what is wanted is the reason, or a table with reason, seen, sometimes, expires"
            )
        found[entry] = Known(said) if isinstance(said, str) else fixture.convert(said, Known, where)
        try:
            found[entry].check(entry)
        except ValueError as error:
            raise BadFixture(f"{place}: {error}") from None
    return found


def stranger(listed: Iterable[str], manifest: Manifest) -> str:
    """What is wrong with the first entry that speaks of nothing; empty where all speak of something."""
    cases, requirements = expand(manifest), requirement.load()
    for entry in listed:
        if entry not in requirements and not any(
            concerns(entry, case.id, case.requirement.id) for case in cases.values()
        ):
            near = nearest(entry, [*requirements, *cases])
            return f"{entry!r}, which is no requirement and fits no case{near}"
    return ""


def with_file(judged: Target, path: Path | None) -> Target:
    """The target with the known failures of a file beside its own; where both have an entry, the file's holds.

    Raises:
        BadFixture: the file is malformed, or an entry of it speaks of nothing.
    """
    if path is None:
        return judged
    listed = load(path)
    if complaint := stranger(listed, judged.manifest):
        raise BadFixture(f"{path}: [known] names {complaint}")
    manifest = msgspec.structs.replace(judged.manifest, known={**judged.manifest.known, **listed})
    return msgspec.structs.replace(judged, manifest=manifest, listed=tuple(listed))
