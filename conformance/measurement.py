"""What a benchmark measured, as one record: every window of every round, and what processes weigh."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

__all__ = ["CEILING", "Measurement", "Memory", "Ratio", "Window", "ratio"]

FORMAT = 1
CEILING = (
    "(generator)"  # the lane of the server that costs next to nothing: what the load generator itself can do
)

#: From which part of its own ceiling on, or of a processor, the load generator is in the way of what is measured.
NEAR = 0.8


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One server, under the load of so many clients for so long.

    Attributes:
        target: its name, or CEILING.
        connections: whole ones that ended within the window; `rate` a second.
        p50, p99, worst: latency in microseconds, from connect to the end of the stream, also of those that ended after it.
        errors: connections that did not go as they should, by what they did instead.
        busy: the part of the window in which the load generator had a processor.
        faults, seconds_each: minor page faults, and seconds on a processor, of a connection, in all processes of the server;
            None where the kernel may not be asked.
    """

    target: str
    clients: int
    round: int
    connections: int
    seconds: float
    p50: int | None
    p99: int | None
    worst: int | None
    errors: dict[str, int]
    busy: float
    faults: float | None = None
    seconds_each: float | None = None

    @property
    def rate(self) -> float:
        """Connections a second."""
        return self.connections / self.seconds


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Private bytes: what a process shares with no other. None where that could not be seen."""

    target: str
    server: int | None
    child: int | None  # of the process that serves one connection, if that is another


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark, whole.

    Attributes:
        targets: as they were described, the one in question first; the `name` of each is what `windows` go by.
        unseen: what could not be measured, and why.
    """

    format: int = FORMAT
    forkecho: str
    started: str  # UTC, ISO 8601
    host: dict[str, object]
    targets: list[dict[str, object]]
    clients: list[int]
    rounds: int
    seconds: float
    warm_up: float
    windows: list[Window]
    memory: list[Memory]
    unseen: list[str]
    interrupted: bool = False

    @property
    def names(self) -> list[str]:
        """The servers that were measured, the one in question first."""
        return [str(one["name"]) for one in self.targets]

    def of(self, target: str, clients: int) -> list[Window]:
        """The windows of one server with so many clients, by round."""
        return [one for one in self.windows if (one.target, one.clients) == (target, clients)]

    def limited(self, target: str, clients: int) -> bool:
        """The load generator was in the way: it could do little more, or had no processor left."""
        mine, most = self.of(target, clients), self.of(CEILING, clients)
        if not mine:
            return False
        near = bool(most) and median(one.rate for one in mine) > NEAR * median(one.rate for one in most)
        return near or median(one.busy for one in mine) > NEAR


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """How one server does against another: the median of the rounds, in each of which both were measured, and from where to where they went."""

    middle: float
    low: float
    high: float


def ratio(ones: Sequence[Window], others: Sequence[Window]) -> Ratio | None:
    """The rates of the same rounds against each other; None where there is no round in which the other served anybody."""
    rates = {one.round: one.rate for one in others if one.connections}
    found = [one.rate / rates[one.round] for one in ones if one.round in rates]
    return Ratio(middle=median(found), low=min(found), high=max(found)) if found else None
