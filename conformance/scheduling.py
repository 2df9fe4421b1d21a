"""Which worker plays which case: xdist's own way, and what it lacks where a worker dies."""

from __future__ import annotations

from contextlib import suppress

from xdist.scheduler import WorkStealingScheduling

__all__ = ["Scheduling"]


class Scheduling(WorkStealingScheduling):
    """Cases are taken from the worker that has most, even at the moment when it dies.

    xdist hears of a death a while later, and until then asks the dead for cases: the run would end in its error.
    """

    def check_schedule(self) -> None:
        """See xdist; once it knows of the death it asks again, and what the dead one had is the others'."""
        with suppress(OSError):  # cannot send (already closed?)
            super().check_schedule()
