"""Waiting for what must become true, never longer than a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Deadline", "crowded", "wait_for"]

Value = TypeVar("Value")

#: A poll starts quickly, since most things become true within a millisecond, and slows down, since what has not is
#: worth no processor; in seconds.
FIRST_PAUSE, LONG_PAUSE, LONGEST_PAUSE = 0.0005, 0.01, 0.05
#: Above LONG_PAUSE, how much of what has been waited for already a pause may be: what comes late is found hardly later.
PART = 0.05

CROWD = 200  # connections that may take a deadline of one together; more of them take more


class Deadline:
    """A point in time, so many seconds from now on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until it; 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Nothing is left."""
        return time.monotonic() >= self._end


def crowded(seconds: float, connections: int) -> float:
    """What may take so long for one connection, or for a few, for so many of them together."""
    return seconds * max(1.0, connections / CROWD)


def wait_for(look: Callable[[], Value], deadline: Deadline) -> Value:
    """What `look` returns, once it is true, or what it returned when the deadline had passed.

    It looks at least once more after a long pause, so that a suite that was not scheduled for a while does not
    mistake its own absence for the target's.
    """
    started, pause = time.monotonic(), FIRST_PAUSE
    while True:
        late = deadline.passed
        if (seen := look()) or late:
            return seen
        time.sleep(min(pause, deadline.left))  # the step of a poll
        longest = min(max(LONG_PAUSE, PART * (time.monotonic() - started)), LONGEST_PAUSE)
        pause = min(pause * 1.5, longest)
