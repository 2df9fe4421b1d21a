"""Result and Run: the one record that all reports are made of, and the JSON lines it is kept in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

__all__ = [
    "FORMAT",
    "GRAVITY",
    "PAST",
    "QUIET",
    "BadRecord",
    "CaseLine",
    "Footer",
    "Header",
    "Run",
    "Verdict",
    "decoded",
    "dump",
    "load",
    "parse",
    "schema",
    "text_of",
    "totals",
]

Decoded = TypeVar("Decoded")

FORMAT = 1  # of the record; it changes only when an old reader would misread a new file


class Verdict(StrEnum):
    """How a case ended; the design says what each means and what it does to the exit code."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    KNOWN = "known"
    FIXED = "fixed"
    NOT_APPLICABLE = "n/a"
    INCONCLUSIVE = "inconclusive"
    UNSTABLE = "unstable"
    BLOCKED = "blocked"
    BROKEN = "broken"

    @property
    def past(self) -> str:
        """The same as it is told of cases: `3 failed`."""
        return PAST.get(self.value, self.value)


#: Verdicts as they are told of cases, where that is another word.
PAST = {"pass": "passed", "fail": "failed", "warn": "warned"}


#: Of several verdicts the first of these stands for all: what was seen of the server before what could not be, and that
#: nothing was tried only where nothing was.
GRAVITY = (
    Verdict.FAIL,
    Verdict.UNSTABLE,
    Verdict.FIXED,
    Verdict.WARN,
    Verdict.BROKEN,
    Verdict.KNOWN,
    Verdict.INCONCLUSIVE,
    Verdict.PASS,
    Verdict.BLOCKED,
    Verdict.NOT_APPLICABLE,
)


#: What a case that is in order ends with.
QUIET = (Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.KNOWN)


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="header"):
    """What was judged, by what, where and when."""

    format: int
    forkecho: str
    spec: str  # a digest of the requirements and cases that were used
    target: dict[str, Any]  # the manifest as used, with the target's name
    model: str | None  # the concurrency model seen, None where none was asked for
    host: dict[str, Any]
    seed: int
    selection: dict[str, Any]  # the options that chose the cases
    selected: int
    started: str  # UTC, ISO 8601
    packages: dict[str, str] = {}  # Debian's, with versions, that the target's program comes from
    python: dict[str, Any] = {}  # that runs the target: path, implementation, version


class CaseLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="case"):
    """What was seen of one case; times `t` and `seconds` in seconds, `t` from the case's start."""

    id: str
    title: str
    requirement: str
    group: str
    level: str
    verdict: Verdict
    reason: str = ""
    expected: str = ""
    seen: str = ""
    step: int = 0  # of the case, from 1, each repeat counted: the one that ended it; 0 if none did, or before the first
    seconds: float = 0.0
    seed: int = 0
    repeats: dict[str, int] = {}  # from verdict to how often it was given
    transcript: list[dict[str, Any]] = []
    processes: list[dict[str, Any]] = []


class Footer(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="footer"):
    """How the run ended; the totals add up to `selected`."""

    totals: dict[str, int]
    selected: int
    exit: int
    seconds: float
    interrupted: bool


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the suite against one target."""

    header: Header
    cases: tuple[CaseLine, ...]
    footer: Footer


class BadRecord(ValueError):
    """A file is no complete record of a run; the text says where it stops being one."""


Line = Header | CaseLine | Footer


def totals(cases: Iterable[CaseLine]) -> dict[str, int]:
    """How often each verdict was given; every verdict is named, so that a zero is said too."""
    counted = Counter(case.verdict for case in cases)
    return {verdict.value: counted[verdict] for verdict in Verdict}


def dump(run: Run) -> str:
    """The record as JSON lines, sorted by case id."""
    encoder = msgspec.json.Encoder()
    lines: list[Line] = [run.header, *sorted(run.cases, key=lambda case: case.id), run.footer]
    return "".join(encoder.encode(line).decode() + "\n" for line in lines)


def load(path: Path) -> Run:
    """The run that a file records.

    Raises:
        BadRecord: the file cannot be read, or see `parse`.
    """
    return parse(text_of(path), str(path))


def text_of(path: Path) -> str:
    """What a file of a record holds.

    Raises:
        BadRecord: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecord(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def decoded(text: str, path: str, decoder: msgspec.json.Decoder[Decoded]) -> list[Decoded]:
    """The lines of a record; a complaint begins with `path`.

    Raises:
        BadRecord: a line is not of the format.
    """
    found = []
    # Not splitlines(), which takes U+2028 and others within a text for ends of a line.
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        try:
            found.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise BadRecord(f"{path}, line {number}: {error}") from None
    return found


def parse(text: str, path: str) -> Run:
    """The run that a text records; a complaint begins with `path`.

    Raises:
        BadRecord: a line is not of the format, there is no header, no footer (the run never ended), a case stands twice,
            or the cases are not as many as were selected.
    """
    found: list[Line] = decoded(text, path, msgspec.json.Decoder(Header | CaseLine | Footer))
    if not found or not isinstance(found[0], Header):
        raise BadRecord(f"{path}: no header in the first line; is it a file of `forkecho check --output`?")
    if found[0].format != FORMAT:
        raise BadRecord(f"{path}: format {found[0].format}; this forkecho reads format {FORMAT}")
    if len(found) < 2 or not isinstance(found[-1], Footer):
        raise BadRecord(f"{path}: no footer in the last line: the run did not end, or the file was cut")
    inner = found[1:-1]
    cases = tuple(line for line in inner if isinstance(line, CaseLine))
    if len(cases) != len(inner):
        raise BadRecord(f"{path}: a header or a footer stands among the cases")
    if doubled := [name for name, count in Counter(case.id for case in cases).items() if count > 1]:
        raise BadRecord(f"{path}: the case {doubled[0]} stands twice")
    if len(cases) != found[-1].selected:
        raise BadRecord(f"{path}: {len(cases)} cases, but {found[-1].selected} were selected")
    return Run(header=found[0], cases=cases, footer=found[-1])


def schema() -> dict[str, Any]:
    """The JSON Schema of one line of a record."""
    line: Any = Header | CaseLine | Footer
    return msgspec.json.schema(line)


ExitCode = Literal[0, 1, 2, 3, 4, 5, 130]
