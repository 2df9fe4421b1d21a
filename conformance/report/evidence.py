"""What was seen of a case as lines for people: what went over the wire, and which processes were there."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from forkecho.conformance.result import CaseLine

__all__ = ["processes", "transcript"]

LINES_MAX = 20  # of a transcript or a list of processes; the middle is left out, the end tells most
HEAD, TAIL = 8, 4  # bytes that are shown of what was sent or received


def transcript(case: CaseLine) -> list[str]:
    """The events on the wire: `+0.012 a sent 17 bytes 48656c6c6f206563...726c6421`."""
    # The same thing on many connections in a row, 64 that connect for instance, is one line.
    return _cut([_events(what, list(together)) for what, together in groupby(case.transcript, key=_what)])


def processes(case: CaseLine) -> list[str]:
    """What happened to processes: `+0.002 born 4711 (a, child of 4700): /bin/cat`."""
    return _cut([_process(event) for event in case.processes])


def _process(event: dict[str, Any]) -> str:
    on = f"{event['on']}, " if event.get("on") else ""
    what = f"{_time(event)} {event.get('event', '')} {event.get('pid', '?')}"
    return f"{what} ({on}child of {event.get('ppid', '?')}): {event.get('command', '')}"


def _events(what: str, events: list[dict[str, Any]]) -> str:
    """A line for events that are the same but for their connection."""
    names = _names(str(event.get("on", "")) for event in events)
    return " ".join(filter(None, (_time(events[0]), names, what)))


def _what(event: dict[str, Any]) -> str:
    """What happened, with the bytes where there are any."""
    said = str(event.get("event", ""))
    return f"{said} {_octets(event)}" if "length" in event else said


def _time(event: dict[str, Any]) -> str:
    return f"+{float(event.get('t', 0)):.3f}"


def _octets(event: dict[str, Any]) -> str:
    """How many bytes, and the first and last of them in hexadecimal."""
    length, head, tail = int(event["length"]), str(event.get("head", "")), str(event.get("tail", ""))
    if length > HEAD + TAIL:
        head = f"{head[: 2 * HEAD]}...{tail[-2 * TAIL :]}"
    until = f", until +{float(event['until']):.3f}" if "until" in event else ""
    return f"{length} byte{'' if length == 1 else 's'} {head}{until}"


def _names(names: Iterable[str]) -> str:
    """Some names, the middle left out where they are many."""
    given = list(dict.fromkeys(names))
    return (
        ", ".join(given)
        if len(given) <= 4
        else f"{given[0]}, {given[1]} ... {given[-1]} ({len(given)} connections)"
    )


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= LINES_MAX:
        return lines
    before, after = LINES_MAX // 2 - 1, LINES_MAX // 2
    return [*lines[:before], f"... {len(lines) - before - after} lines left out ...", *lines[-after:]]
