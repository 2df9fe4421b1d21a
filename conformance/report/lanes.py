"""The processes and connections of a case over time, as its record tells them: who was seen from when to when."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from forkecho.conformance.report.evidence import number
from forkecho.conformance.result import CaseLine

__all__ = ["Lane", "Mark", "Span", "lanes"]

CONNECTIONS_MAX, PROCESSES_MAX = 8, 16  # lanes of a kind; what is more is told together
ALIKE_MAX = 3  # lanes to which the same happened, one by one, where there are too many
MARKS_MAX = 24  # of a kind in a lane


class Span(msgspec.Struct, frozen=True):
    """Something that lasted.

    `seen`: the process was there; `unseen`: it ended somewhere in there; `zombie`; `frozen`; `holds` a connection; `open` or
    `half-closed` connections.
    """

    kind: str
    start: float
    end: float
    on: str = ""  # the connection


class Mark(msgspec.Struct, frozen=True):
    """Something that happened at one moment."""

    kind: str
    at: float
    words: str


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One connection or process, or several to which the same happened."""

    kind: str  # client, owner, older, born, more
    name: str
    words: str  # who it is
    done: str = ""  # what was done to it
    how: str = ""  # what has become of it
    at: float | None = None  # when that was seen
    spans: tuple[Span, ...] = ()
    marks: tuple[Mark, ...] = ()
    pid: int = 0
    parent: int = 0
    begins: float = 0.0

    @property
    def alike(self) -> tuple[object, ...]:
        """The same for lanes to which the same happened."""
        held = len({span.on for span in self.spans if span.kind == "holds"})
        return (
            self.kind,
            self.how,
            held,
            tuple(sorted({one.kind for one in self.spans})),
            tuple(sorted({one.words for one in self.marks if one.kind not in ("sent", "received")})),
        )


def lanes(case: CaseLine) -> list[Lane]:
    """The lanes of a case: connections, then processes, the owner of the listener first; none if no process was looked at."""
    if not case.processes:
        return []
    connections: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in case.transcript:
        if event.get("on"):
            connections[str(event["on"])].append(event)
    processes: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in case.processes:
        processes[str(event.get("pid")), str(event.get("start"))].append(event)
    told = [_process(events, case.transcript) for events in processes.values()]
    order = {"owner": 0, "older": 1, "born": 2}
    told.sort(key=lambda lane: order[lane.kind])
    made = [_connection(name, events) for name, events in connections.items()]
    return [*_fold(made, CONNECTIONS_MAX), *_fold(told, PROCESSES_MAX)]


def _time(event: dict[str, Any], key: str = "t") -> float:
    return number(event.get(key, event.get("t")))


#: Which event on the wire ends the connection at our side, the other side's direction, or all of it by itself.
CLOSING = {"closed", "reset by the client", "reset by the server", "vanished"}
ENDING = "end of stream"
BREAKING = re.compile("reset|E[A-Z0-9]+")  # or any other error, by its name


def _connection(name: str, events: list[dict[str, Any]]) -> Lane:
    """What a client saw of its connection."""
    spans: list[Span] = []
    marks: list[Mark] = []
    state, since, broken = "", 0.0, False
    how: tuple[str, float] | None = None
    for event in events:
        what, at = str(event.get("event", "")), _time(event)
        if what == "connected" or not (state or broken):
            state, since, broken, how = "open", at, False, None
        if what == "half-closed" and not broken:
            spans.append(Span(state, since, at, name))
            state, since = "half-closed", at
        elif what in CLOSING:
            spans += [Span(state, since, at, name)] if state else []
            state, broken = "", False
            how = how or (what, at)
            marks.append(Mark("closed", at, what))
        elif what == ENDING:
            how = (what, at)
            marks.append(Mark("end", at, f"{what} from the other side"))
        elif BREAKING.fullmatch(what):
            # Nothing is open any more, though the suite may close its end of it much later.
            spans += [Span(state, since, at, name)] if state else []
            state, broken, how = "", True, (what, at)
            marks.append(Mark("end", at, f"{what} from the other side" if what == "reset" else what))
        elif what in ("sent", "received"):
            marks.append(Mark(what, at, f"{what} {event.get('length', '?')} bytes"))
    if state:
        last = max(_time(event, "until") for event in events)
        spans.append(Span(state, since, last, name))
        how = how or ("last seen", last)
    said = "the client's connection" if name == "client" else f"connection {name}"
    return Lane(
        kind="client", name=name, words=said, how=how[0] if how else "", at=how[1] if how else None, spans=tuple(spans), marks=_few(marks),
        begins=_time(events[0]),
    )  # fmt: skip


def _few(marks: list[Mark]) -> tuple[Mark, ...]:
    """At most so many of what went over the wire, which can be hundreds; all that happened once."""
    kept: dict[str, int] = defaultdict(int)
    found = []
    for mark in marks:
        kept[mark.kind] += 1
        if kept[mark.kind] <= MARKS_MAX:
            found.append(mark)
    return tuple(found)


def _process(events: list[dict[str, Any]], wire: list[dict[str, Any]]) -> Lane:
    """What was seen of one process; a client that is judged is seen by what it does on the wire as well."""
    kinds = [str(event.get("event", "")) for event in events]
    first, pid = events[0], int(number(events[0].get("pid")))
    # One that was forked for the next connection has open what its parent had, for a moment: theirs is what they kept.
    births = [event for event in events if event.get("event") == "born"]
    born = max(births, key=lambda event: _time(event, "until") - _time(event), default=None)
    kind = "owner" if "owner" in kinds else "born" if born or kinds[0] == "started" else "older"
    # Owners and those that hold a connection without having been born for it were there before, nobody saw since when.
    begins = _time(first)
    last = max([begins, *(_time(event, "until") for event in events if not _is_end(event))])
    if kinds[0] == "started":
        ended = min([_time(event) for event in events if _is_end(event)], default=math.inf)
        last = max(
            [last, *(at for event in wire if event.get("on") == "client" and (at := _time(event)) <= ended)]
        )
    spans, marks, how = [Span("seen", begins, last)], [], ("last seen", last)
    spans += _held(events) + _frozen(events, last)
    for event in events:
        what, at = str(event.get("event", "")), _time(event)
        if what in ("gone", "zombie"):
            after = max([end.end for end in spans if end.kind in ("zombie", "seen")], default=last)
            if what == "gone":
                spans.append(Span("unseen", after, at))
                how = ("gone", at)
            else:
                spans += [Span("unseen", after, at), Span("zombie", at, _time(event, "until"))]
                how = ("zombie", at)
            marks.append(
                Mark(
                    what,
                    at,
                    {"gone": "it had gone", "zombie": "it had exited; nobody had waited for it"}[what],
                )
            )
        elif what == "alive":
            how = ("still there", at)
            marks.append(Mark("alive", at, "still there at the end of the case"))
        elif what.startswith(("ended ", "killed by ")):
            spans.append(Span("unseen", last, at))
            how = (what, at)
            marks.append(Mark("gone", at, what))
        elif what not in ("owner", "born", "holds", "frozen", "thawed", "started"):
            marks.append(Mark("done", at, what))
    if kind == "born" and born:
        marks.append(Mark("born", begins, f"first seen, born for {born.get('on')}"))
    elif kind == "born":
        marks.append(Mark("born", begins, "started by the suite"))
    held = next((f" before {event.get('on')}" for event in events if event.get("event") == "holds"), "")
    role = {
        "owner": "owns the listener",
        "older": f"was there{held}",
        "born": f"born for {born.get('on')}" if born else "the client",
    }[kind]
    done = list(dict.fromkeys(mark.words for mark in marks if mark.kind == "done"))
    if "frozen" in kinds:
        done.insert(0, "frozen")
    return Lane(
        kind=kind, name=str(pid), words=role, done=", ".join(done), how=how[0], at=how[1], spans=tuple(spans), marks=_few(marks),
        pid=pid, parent=int(number(first.get("ppid"))), begins=begins,
    )  # fmt: skip


def _is_end(event: dict[str, Any]) -> bool:
    """It tells that a process was seen no more."""
    what = str(event.get("event", ""))
    return what in ("gone", "zombie") or what.startswith(("ended ", "killed by "))


def _held(events: Iterable[dict[str, Any]]) -> list[Span]:
    """From when to when it was seen to have connections open."""
    return [
        Span("holds", _time(event), _time(event, "until"), str(event.get("on", "")))
        for event in events
        if event.get("event") == "holds" or (event.get("event") == "born" and "until" in event)
    ]


def _frozen(events: Iterable[dict[str, Any]], last: float) -> list[Span]:
    """From when to when it was stopped."""
    found, since = [], None
    for event in events:
        if event.get("event") == "frozen" and since is None:
            since = _time(event)
        elif since is not None and event.get("event") in ("thawed", "gone", "zombie"):
            found.append(Span("frozen", since, _time(event)))
            since = None
    return found if since is None else [*found, Span("frozen", since, max(since, last))]


def _fold(told: list[Lane], most: int) -> list[Lane]:
    """So many lanes at the most: those to which the same happened together, and then the last ones."""
    if len(told) <= most:
        return told
    groups: dict[tuple[object, ...], list[Lane]] = defaultdict(list)
    for lane in told:
        groups[lane.alike].append(lane)
    found: list[Lane] = []
    for group in groups.values():
        kept = ALIKE_MAX if len(group) > ALIKE_MAX + 1 else len(group)
        found += group[:kept]
        if rest := group[kept:]:
            found.append(_together(rest, "like these"))
    return (
        found if len(found) <= most else [*found[: most - 1], _together(found[most - 1 :], "not told apart")]
    )


def _together(rest: list[Lane], words: str) -> Lane:
    """A lane for several: from the first to the last moment of any of them."""
    ends = [span.end for lane in rest for span in lane.spans] + [
        mark.at for lane in rest for mark in lane.marks
    ]
    begins = min(lane.begins for lane in rest)
    count = sum(int(lane.name) if lane.kind == "more" else 1 for lane in rest)
    hows = list(dict.fromkeys(lane.how for lane in rest))
    return Lane(
        kind="more", name=str(count), words=f"more {words}, {rest[0].name} to {rest[-1].name}",
        how=hows[0] if len(hows) == 1 else "", spans=(Span("more", begins, max(ends, default=begins)),), begins=begins,
    )  # fmt: skip


def seconds(at: float) -> str:
    """A time since the case began, as short as its place allows: `+12 ms`, `+1.25 s`."""
    if at < 1:
        return f"+{at * 1000:.0f} ms" if at >= 0.01 or at == 0 else f"+{at * 1000:.1f} ms"
    return f"+{at:.2f} s" if at < 100 else f"+{at:.0f} s"
