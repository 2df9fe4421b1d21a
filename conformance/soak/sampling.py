"""Samples of what a server holds, taken in the background and whenever it is at rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from forkecho.conformance.deadline import Deadline
from forkecho.conformance.observe import Observer
from forkecho.conformance.soak.record import Sample
from forkecho.conformance.target import Running

__all__ = ["Sampler"]

#: Seconds that a server is given to be at rest again: its last children to exit, to be reaped, their connections to be closed.
RESTS_WITHIN = 10.0


class Sampler:
    """Watches one server.

    Args:
        running: the server.
        every: seconds between two samples.
        served: how many connections of the load were served so far.
        told: called with each sample, from any thread.
    """

    def __init__(
        self, running: Running, every: float, served: Callable[[], int], told: Callable[[Sample], object]
    ) -> None:
        assert running.observer
        assert running.owner
        self.samples: list[Sample] = []
        self.phase: Literal["load", "cases", "rest"] = "rest"
        self.error = ""
        self._running = running
        self._observer: Observer = running.observer
        self._owner = running.owner
        self._every, self._served, self._told = every, served, told
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def now(self) -> float:
        """Seconds since the soak began."""
        return round(time.monotonic() - self._started, 3)

    @property
    def alive(self) -> bool:
        """The owner of the listener has not ended."""
        return self._observer.alive(self._owner)

    def start(self) -> None:
        """Take samples until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join()

    def rest(self) -> Sample:
        """Wait until the server is at rest, not for ever, and say what it holds then."""
        self.phase = "rest"
        before = next((one for one in reversed(self.samples) if one.phase == "rest"), None)
        last: list[Sample] = []

        def at_rest() -> bool:
            last[:] = [self._look("rest")]
            more = before is not None and last[0].descriptors > before.descriptors
            # By what was seen at once: a second look would see another moment.
            return last[0].processes <= len(self._running.baseline) and not last[0].zombies and not more

        self._running.wait_for(at_rest, Deadline(RESTS_WITHIN))
        self._take(last[0])
        return last[0]

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            if self.phase == "rest":
                continue  # of which one sample is taken, when it is so
            try:
                self._take(self._look(self.phase))
            except Exception as error:
                self.error = f"the server could not be watched: {type(error).__name__}: {error}"
                return

    def _take(self, sample: Sample) -> None:
        self.samples.append(sample)
        self._told(sample)

    def _look(self, phase: Literal["load", "cases", "rest"]) -> Sample:
        """What it holds now."""
        observer, baseline = self._observer, self._running.baseline
        private = [observer.private(process) for process in baseline]
        # A quick look may miss a process; that it has no zombie takes the other.
        alive = {facts.process for facts in self._running.alive(thorough=phase == "rest")}
        below = observer.descendants(self._owner.pid, thorough=phase == "rest")
        return Sample(
            t=self.now,
            phase=phase,
            descriptors=sum(observer.descriptors(process) for process in baseline),
            processes=len(alive),
            zombies=sum(not facts.alive for facts in below),
            rss=sum(observer.memory(process) for process in baseline),
            private=None if None in private else sum(one or 0 for one in private),
            served=self._served(),
        )
