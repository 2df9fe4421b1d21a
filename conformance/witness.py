"""What is seen of processes during one case: the evidence in its record, and nothing that was not seen."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from forkecho.conformance.observe import Facts, Observer, Process

__all__ = ["EVIDENCE_MAX", "Witness"]

EVIDENCE_MAX = 200  # events told of one case


class Witness:
    """The events of processes in order, each with the time when it was seen.

    `owner`: it owns the listener, and was there before the first connection; told before whatever is told first. `born`:
    for a connection. `holds`: it was there before that connection, and has it open. `frozen`, `thawed`, `sent SIGTERM` and
    the like: what was done to it. `gone`, `zombie`: it was looked for, and had gone, or has exited and was not waited for.
    `alive`: it is there at the end of the case. Where an event has `until`, what it says was seen again at that time; of a
    process that was `born`, that it had the connection open.

    Args:
        now: the time, in seconds since the case began.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.events: list[dict[str, Any]] = []
        self._now = now
        self._known: dict[Process, Facts] = {}  # as they were told last
        self._ended: dict[Process, dict[str, Any]] = {}
        self._holding: dict[str, dict[Process, dict[str, Any] | None]] = {}  # by connection
        self._owner: Process | None = None
        self._untold = 0

    def tell(self, event: str, on: str, facts: Facts) -> dict[str, Any] | None:
        """Put an event of a process into the evidence; None where there is no room for more."""
        # Whoever is told of leaves room for how it ended.
        theirs = len(self._known.keys() - self._ended.keys() | {facts.process})
        if len(self.events) + theirs >= EVIDENCE_MAX:
            self._untold += 1
            return None
        self._known[facts.process] = facts
        return self._add(event, on, facts)

    def _add(self, event: str, on: str, facts: Facts) -> dict[str, Any]:
        pid, start = facts.process
        told = {
            "pid": pid,
            "start": start,
            "ppid": facts.ppid,
            "state": facts.state,
            "command": facts.command,
        }
        self.events.append({"t": self._now(), "event": event, "on": on, **told})
        return self.events[-1]

    def _add_briefly(self, event: str, process: Process, at: float | None) -> dict[str, Any]:
        """An event of a process that was told of, by its PID and start alone."""
        when = self._now() if at is None else at
        self.events.append({"t": when, "event": event, "on": "", "pid": process.pid, "start": process.start})
        return self.events[-1]

    def introduce(self, owner: Process | None, observer: Observer) -> None:
        """Tell who owns the listener, once; to be called before any other event."""
        if owner is None or owner == self._owner:
            return
        self._owner = owner
        if (facts := observer.facts(owner.pid)) and facts.process == owner:
            self.tell("owner", "", facts)

    def born(self, on: str, facts: Facts, *, holds: bool) -> None:
        """A process was born for a connection, and perhaps was seen to have it open."""
        event = self.tell("born", on, facts)
        if holds:
            self._hold(on, facts.process, event)

    def holds(self, on: str, facts: Facts) -> None:
        """A process that was there before a connection has it open."""
        self._hold(on, facts.process, self.tell("holds", on, facts))

    def held(self, on: str, by: Collection[Process]) -> None:
        """These processes have a connection open, and of all that were told of no others."""
        holding = self._holding.setdefault(on, {})
        for process in [process for process in holding if process not in by]:
            del holding[process]
        for process in sorted(by):
            if process in holding:
                self._hold(on, process, holding[process])
            elif process in self._known:  # once more, after it had let go
                self.holds(on, self._known[process])

    def _hold(self, on: str, process: Process, event: dict[str, Any] | None) -> None:
        self._holding.setdefault(on, {})[process] = event
        if event is not None:
            event["until"] = self._now()

    def ended(self, process: Process, facts: Facts | None, at: float | None = None) -> None:
        """A process was looked for; what was found has it exited, or is nothing, or another one with its PID."""
        there = facts is not None and facts.process == process
        event, before = "zombie" if there else "gone", self._ended.get(process)
        if process not in self._known or (before and before["event"] == "gone"):
            return
        if before and there:
            before["until"] = self._now() if at is None else at
            return
        if before is None or len(self.events) < EVIDENCE_MAX:
            self._ended[process] = self._add_briefly(event, process, at)

    def look_once_more(self, observer: Observer) -> None:
        """At the end of the case: which of those that were told of are still there."""
        at = self._now()  # one look, that takes a moment
        for process in list(self._known):
            facts = observer.facts(process.pid)
            if facts and facts.process == process and facts.alive:
                self._ended[process] = self._add_briefly("alive", process, at)
            else:
                self.ended(process, facts, at)
        if self._untold:
            self.events[-1]["untold"] = self._untold
