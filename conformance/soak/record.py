"""The record of a soak: who was soaked, samples of what it held, repeats of the suite, how it ended; and its JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from forkecho.conformance.result import BadRecord, decoded, text_of

__all__ = [
    "FORMAT",
    "Fault",
    "Line",
    "Repeat",
    "Sample",
    "Soak",
    "SoakFooter",
    "SoakHeader",
    "dump",
    "encoded",
    "is_soak",
    "load",
    "schema",
]

FORMAT = 1  # of the record; it changes only when an old reader would misread a new file
ENDLESS = "the record has no end: the suite was killed, or the file was cut"


class SoakHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="soak"):
    """Who was soaked, by what, where, when, and how."""

    format: int
    forkecho: str
    spec: str  # a digest of the requirements and cases that were used
    target: dict[str, Any]  # the manifest as used, with the target's name
    model: str | None  # the concurrency model seen, None where it was not
    host: dict[str, Any]
    seed: int
    selection: dict[str, Any]  # the options that chose the cases
    selected: int
    started: str  # UTC, ISO 8601
    duration: float  # that was asked for, in seconds
    interval: float  # between samples, in seconds
    load: dict[str, Any]  # at most how many connections at once (`room`) and new ones a second (`rate`)
    packages: dict[str, str] = {}  # Debian's, with versions, that the target's program comes from
    python: dict[str, Any] = {}  # that runs the target


class Sample(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="sample"):
    """What the server held at one moment.

    Attributes:
        t: seconds since the soak began.
        phase: `load`: clients and cases use it; `cases`: cases alone; `rest`: nobody does, and it was waited for.
        descriptors, rss, private: of the processes that were there before the first client; memory in bytes, the private one
            None where it cannot be seen.
        processes: of the server that have not exited.
        zombies: children of the server that have exited and were not waited for.
        served: connections of the load that were served so far.
    """

    t: float
    phase: Literal["load", "cases", "rest"]
    descriptors: int
    processes: int
    zombies: int
    rss: int
    private: int | None = None
    served: int = 0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A case that was not in order in one repeat."""

    id: str
    requirement: str
    level: str
    verdict: str
    reason: str = ""
    expected: str = ""
    seen: str = ""


class Repeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="repeat"):
    """The suite once; `t` and `seconds` as everywhere."""

    number: int
    t: float
    seconds: float
    totals: dict[str, int]  # from verdict to how many cases
    faults: list[Fault] = []
    whole: bool = True  # all cases were tried


class SoakFooter(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """How the soak ended."""

    seconds: float
    exit: int
    interrupted: bool
    ended: str = ""  # why it was over before its time, where the server was the reason
    broken: str = ""  # what went wrong with the suite itself
    load: dict[str, int] = {}  # connections by what became of them
    wrong: list[str] = []  # of the load: replies that were not what was sent, the first of them


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """One soak of one target."""

    header: SoakHeader
    samples: tuple[Sample, ...]
    repeats: tuple[Repeat, ...]
    footer: SoakFooter


Line = SoakHeader | Sample | Repeat | SoakFooter


def dump(soak: Soak) -> str:
    """The record as JSON lines: the header, samples and repeats by their time, the footer."""
    between: list[Line] = [*soak.samples, *soak.repeats]
    between.sort(key=lambda line: line.t + (line.seconds if isinstance(line, Repeat) else 0.0))  # type: ignore[union-attr]
    lines: list[Line] = [soak.header, *between, soak.footer]
    return "".join(encoded(line) for line in lines)


def encoded(line: Line) -> str:
    """One line of the record, with its end."""
    return msgspec.json.encode(line).decode() + "\n"


def is_soak(path: Path) -> bool:
    """The file begins as the record of a soak does."""
    try:
        with path.open(encoding="utf-8") as file:
            return '"kind":"soak"' in file.readline(200)
    except (OSError, UnicodeDecodeError):
        return False


def load(path: Path) -> Soak:
    """The soak that a file records; of one that was killed, all that was written until then.

    Raises:
        BadRecord: the file cannot be read, or a line is not of the format.
    """
    decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
    found = decoded(_without_a_torn_line(text_of(path), decoder), str(path), decoder)
    if not found or not isinstance(found[0], SoakHeader):
        raise BadRecord(f"{path}: no header in the first line; is it a file of `forkecho soak --output`?")
    if found[0].format != FORMAT:
        raise BadRecord(f"{path}: format {found[0].format}; this forkecho reads format {FORMAT}")
    footer, inner = (found[-1], found[1:-1]) if isinstance(found[-1], SoakFooter) else (None, found[1:])
    samples = tuple(line for line in inner if isinstance(line, Sample))
    repeats = tuple(line for line in inner if isinstance(line, Repeat))
    if len(samples) + len(repeats) != len(inner):
        raise BadRecord(f"{path}: a header or a footer stands among the samples")
    if footer is None:
        last = max(samples, key=lambda line: line.t, default=None)
        footer = SoakFooter(
            seconds=last.t if last else 0.0,
            exit=3,
            interrupted=False,
            broken=ENDLESS,
            load={"served": last.served} if last else {},
        )
    return Soak(header=found[0], samples=samples, repeats=repeats, footer=footer)


def _without_a_torn_line(text: str, decoder: msgspec.json.Decoder[Line]) -> str:
    """The text without what stands after its last line end, unless that is a line for all that."""
    lines, end, last = text.rpartition("\n")
    try:
        decoder.decode(last)
    except msgspec.DecodeError:
        return lines + end
    return text


def schema() -> dict[str, Any]:
    """The JSON Schema of one line of the record of a soak."""
    return msgspec.json.schema(Line)
