"""What was seen of a case as lines for people: what went over the wire, and which processes were there."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.verdict import repeated

__all__ = ["number", "processes", "repeats", "transcript", "words"]

LINES_MAX = 20  # of a transcript or a list of processes; the middle is left out, the end tells most
HEAD, TAIL = 8, 4  # bytes that are shown of what was sent or received


#: What was found of a process when it was looked for; many are told together.
FOUND = {"gone": "gone", "zombie": "exited, and not waited for", "alive": "still there"}


def words(case: CaseLine) -> list[tuple[str, str]]:
    """What is said of a case, each with its name: why, what was expected and seen, and in how many repeats."""
    # Of an unstable one that is the reason.
    often = "" if case.verdict is Verdict.UNSTABLE else repeats(case)
    told = {"reason": case.reason, "expected": case.expected, "seen": case.seen, "repeats": often}
    return [(name, text) for name, text in told.items() if text]


def repeats(case: CaseLine) -> str:
    """How often it ended in each way, with the interval of what is rare; empty where it was played once."""
    return repeated(case.repeats) if sum(case.repeats.values()) > 1 else ""


def transcript(case: CaseLine, most: int = LINES_MAX) -> list[str]:
    """The events on the wire: `+0.012 a sent 17 bytes 48656c6c6f206563...726c6421`."""
    # The same thing on many connections in a row, 64 that connect for instance, is one line.
    lines = [_events(what, list(together)) for what, together in groupby(case.transcript, key=_what)]
    return _cut(lines, most)


def processes(case: CaseLine, most: int = LINES_MAX) -> list[str]:
    """What happened to processes: `+0.002 born 4711 (a, child of 4700): /bin/cat`."""
    lines = []
    owners = {str(event.get("command", "")) for event in case.processes if event.get("event") == "owner"}
    for what, together in groupby(case.processes, key=lambda event: FOUND.get(str(event.get("event")))):
        events = list(together)
        if what:
            pids = _names((str(event.get("pid", "?")) for event in events), "processes")
            lines.append(f"{_time(events[0])} {what}: {pids}")
        else:
            lines += [_process(event, owners) for event in events]
    if untold := sum(int(number(event.get("untold"))) for event in case.processes):
        lines.append(f"and {untold} events that are not in the record")
    return _cut(lines, most)


def _process(event: dict[str, Any], owners: set[str]) -> str:
    pid, on = event.get("pid", "?"), event.get("on")
    if event.get("event") == "holds":
        return f"{_time(event)} {pid} holds {on}, though it was there before"
    names = f"{on}, " if on else ""
    what = f"{_time(event)} {event.get('event', '')} {pid}"
    # A forked process has the command line of the one that it came of, which is told once.
    command = str(event.get("command", ""))
    same = event.get("event") != "owner" and command in owners
    return f"{what} ({names}child of {event.get('ppid', '?')}){'' if same else f': {command}'}"


def _events(what: str, events: list[dict[str, Any]]) -> str:
    """A line for events that are the same but for their connection."""
    names = _names(str(event.get("on", "")) for event in events)
    return " ".join(filter(None, (_time(events[0]), names, what)))


def _what(event: dict[str, Any]) -> str:
    """What happened, with the bytes where there are any."""
    said = str(event.get("event", ""))
    return f"{said} {_octets(event)}" if "length" in event else said


def _time(event: dict[str, Any]) -> str:
    return f"+{number(event.get('t')):.3f}"


def number(value: object) -> float:
    """A number of an event; a record from elsewhere may have anything there, and then it is 0."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else 0.0


def _octets(event: dict[str, Any]) -> str:
    """How many bytes, and the first and last of them in hexadecimal."""
    length, head, tail = int(number(event["length"])), str(event.get("head", "")), str(event.get("tail", ""))
    if length > HEAD + TAIL:
        head = f"{head[: 2 * HEAD]}...{tail[-2 * TAIL :]}"
    until = f", until +{number(event['until']):.3f}" if "until" in event else ""
    return f"{length} byte{'' if length == 1 else 's'} {head}{until}"


def _names(names: Iterable[str], what: str = "connections") -> str:
    """Some names, the middle left out where they are many."""
    given = list(dict.fromkeys(names))
    return (
        ", ".join(given)
        if len(given) <= 4
        else f"{given[0]}, {given[1]} ... {given[-1]} ({len(given)} {what})"
    )


def _cut(lines: list[str], most: int) -> list[str]:
    if len(lines) <= most:
        return lines
    before, after = most // 2 - 1, most // 2
    return [*lines[:before], f"... {len(lines) - before - after} lines left out ...", *lines[-after:]]
