"""Stopping processes of a target, and letting them go on, whatever happens to the suite meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Collection
from contextlib import suppress

from forkecho.conformance.observe import Process
from forkecho.conformance.target import Running

__all__ = ["Freezer"]


class Freezer:
    """The processes of one target that are stopped by us; its guardian knows them, and thaws them should we be killed.

    Attributes:
        frozen: those that were sent SIGSTOP, and not SIGCONT since.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self.frozen: set[Process] = set()
        self._waited: set[int] = (
            set()
        )  # PIDs of those that slept without being interruptible at the last look

    def stop(self, wanted: Collection[Process]) -> bool:
        """Every thread of each is stopped; to be asked again, with those that they still forked meanwhile, until it is so.

        Raises:
            PermissionError: one belongs to somebody else.
        """
        observer = self._running.observer
        assert observer is not None
        fresh = set(wanted) - self.frozen
        if fresh:
            self.frozen |= fresh
            self._running.guard.frozen(self.frozen)
        for process in fresh:
            observer.send(process, signal.SIGSTOP)
        if not fresh and all(observer.stopped(process) for process in wanted):
            return True
        self._let_children_go(wanted)
        return False

    def _let_children_go(self, wanted: Collection[Process]) -> None:
        """Thaw those for whom one of the others waits: after vfork(2) until they have executed a program, and nothing stops it before."""
        observer = self._running.observer
        assert observer is not None
        seen = [facts for process in wanted if (facts := observer.facts(process.pid))]
        waiting = {facts.process.pid for facts in seen if facts.state == "D"}
        # Who waits for a disk is in that state for a moment.
        stay, self._waited = waiting & self._waited, waiting
        self.thaw(self.frozen & {facts.process for facts in seen if facts.ppid in stay})

    def thaw(self, wanted: Collection[Process]) -> None:
        """Let some of the frozen go on."""
        observer = self._running.observer
        if not wanted or observer is None:
            return
        for process in wanted:
            with suppress(PermissionError):
                observer.send(process, signal.SIGCONT)
        self.frozen -= set(wanted)
        self._running.guard.frozen(self.frozen)
