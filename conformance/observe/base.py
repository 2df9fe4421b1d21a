"""One small interface to the operating system: what every way of asking it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from forkecho.conformance.address import Address, Place

__all__ = [
    "Address",
    "Census",
    "Effort",
    "Endpoint",
    "Facts",
    "Listener",
    "Masks",
    "Observer",
    "Process",
    "Task",
]


class Process(NamedTuple):
    """A process for ever: its PID, and when it started, since PIDs are used again.

    `start` is in the clock of the observer that gave it (Linux: ticks since boot, field 22 of /proc/PID/stat).
    """

    pid: int
    start: int


class Effort(NamedTuple):
    """What a process has had of the processors so far, all its threads together, in seconds.

    `waited` is how long it wanted to run and was not let: on a loaded machine that is what tells one that sleeps from one
    that never does. 0 where the system does not say.
    """

    ran: float
    waited: float = 0.0


class Masks(NamedTuple):
    """The numbers of the signals that a process has blocked, and of those that it ignores."""

    blocked: frozenset[int]
    ignored: frozenset[int]


class Task(NamedTuple):
    """One thread of a process at one moment."""

    state: str  # as in `Facts`
    sleeps: int  # how often it has gone to sleep by itself so far


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel says of a process at one moment."""

    process: Process
    ppid: int
    state: str  # one letter as in proc(5): R, S, D, T, Z ...
    command: str = ""

    @property
    def alive(self) -> bool:
        """It has not exited (a zombie has)."""
        return self.state not in ("Z", "X")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a connection, or a listener, as the kernel sees it; queues in bytes."""

    state: str  # ESTABLISHED, CLOSE_WAIT, ...
    key: int  # the socket's inode, or what serves as one; 0: no process holds it
    unread: int = 0
    unsent: int = 0
    timer: str | None = (
        None  # what it waits for next: "", "keepalive", or another; None where that cannot be told
    )


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """A listening socket."""

    address: Address
    key: int
    backlog: int = 0


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """Who was alive at one moment, in the observer's clock: all PIDs, or where the system tells it, the newest one.

    PIDs are given in turn, up to `most` and then from the beginning: of those that started in the very moment the newest
    tells who came before. That takes no list, which would be as long as the machine has processes.
    """

    moment: int
    pids: frozenset[int] = frozenset()
    newest: int = 0
    most: int = 0

    def knew(self, process: Process) -> bool:
        """The process was alive at that moment: its PID was in use, and not by somebody who started earlier."""
        if not self.newest:
            return process.pid in self.pids and process.start <= self.moment
        came_later = 0 < (process.pid - self.newest) % self.most < self.most // 2
        return process.start < self.moment or (process.start == self.moment and not came_later)


class Observer(ABC):
    """Questions to the operating system. None of them raises for a process that has gone meanwhile."""

    name: str

    @abstractmethod
    def census(self) -> Census:
        """All that are alive now."""

    @abstractmethod
    def facts(self, pid: int) -> Facts | None:
        """What is known of a process, None when there is none."""

    @abstractmethod
    def listeners(self, place: Place) -> list[Listener]:
        """The sockets that listen on a port, in every address family, or on a path; port 0: on any port."""

    @abstractmethod
    def endpoint(self, local: Address, remote: Address) -> Endpoint | None:
        """The socket of one connection, seen from the side of `local`; None when there is none."""

    @abstractmethod
    def holders(self, keys: Collection[int], among: Iterable[int] | None = None) -> dict[int, set[Process]]:
        """Which processes have each socket open; `among` limits the search to those PIDs."""

    @abstractmethod
    def descendants(self, pid: int, thorough: bool = False) -> list[Facts]:
        """All processes below a process, zombies among them, parents before children.

        A quick look may miss one whose sibling ends at that moment (proc(5)); a thorough one does not.
        """

    @abstractmethod
    def stopped(self, process: Process) -> bool:
        """Every thread of it is stopped, or it has gone."""

    @abstractmethod
    def threads(self, process: Process) -> int:
        """How many threads it has; 0 when it has gone."""

    @abstractmethod
    def tasks(self, process: Process) -> dict[int, Task]:
        """Its threads by their numbers; empty when it has gone, or where they cannot be told apart."""

    @abstractmethod
    def image(self, process: Process) -> tuple[str, ...]:
        """What tells the program that it runs from another: what it was forked off has the same, until either execs.

        Empty when it has gone, or runs nothing any more; the first is empty where it may not be seen.
        """

    @abstractmethod
    def descriptors(self, process: Process) -> int:
        """How many descriptors it has open; 0 when it has gone."""

    @abstractmethod
    def memory(self, process: Process) -> int:
        """Its resident memory in bytes; 0 when it has gone."""

    @abstractmethod
    def private(self, process: Process) -> int | None:
        """Its memory that it shares with nobody, in bytes; None when it has gone, or where that may not be seen."""

    @abstractmethod
    def effort(self, process: Process) -> Effort:
        """What it has had of the processors; nothing when it has gone."""

    @abstractmethod
    def files(self, process: Process) -> dict[int, str]:
        """What its descriptors are, in the system's words; empty when it has gone, or where that may not be seen."""

    @abstractmethod
    def masks(self, process: Process) -> Masks | None:
        """Its blocked and ignored signals, those of its first thread; None when it has gone, or where that cannot be seen."""

    @abstractmethod
    def exit_status(self, process: Process) -> int | None:
        """How it ended, as waitpid(2) will tell its parent: of a zombie, where that may be seen; else None."""

    @abstractmethod
    def local_pids(self, process: Process) -> tuple[int, ...]:
        """Its PID in each PID namespace that it is in, the outermost first."""

    @abstractmethod
    def send(self, process: Process, number: int) -> bool:
        """Signal this very process, never another one with its PID; False when it has gone.

        Raises:
            PermissionError: it belongs to somebody else.
        """

    def alive(self, process: Process) -> bool:
        """It exists, is the same, and has not exited."""
        found = self.facts(process.pid)
        return found is not None and found.process == process and found.alive
