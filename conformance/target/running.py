"""A target that runs: where it listens, who belongs to it, what it prints, and its end."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, get_args

from forkecho.conformance import port
from forkecho.conformance.address import Address, Place, is_unix, place_of
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guard import Guard
from forkecho.conformance.hosted import Hosted
from forkecho.conformance.manifest import Family
from forkecho.conformance.observe import Effort, Facts, Listener, Observer, Process
from forkecho.conformance.target.builds import Builds
from forkecho.conformance.target.named import Target
from forkecho.conformance.world import USUAL, Stream

__all__ = ["EXTENSIONS", "HOSTS", "LOOPBACK_6", "Running", "root_of"]

Value = TypeVar("Value")

#: Where a server is told to listen, by the family that it is to serve; a dual one takes IPv4 clients on its IPv6 socket.
HOSTS: dict[Family, str] = {"ipv4": "127.0.0.1", "ipv6": "::1", "dual": "::"}
LOOPBACK_6 = "::1"  # where IPv6 clients of a dual one come

STOP_WITHIN = 3.0  # seconds for an orderly end between cases; whoever takes longer is killed
EXTENSIONS = 4  # of the time that a target on a loaded machine is given; one that spins has an end, too
SETTLING = 0.001  # seconds that even a deadline which has passed is worth
WORTH_WAITING = 0.1  # of that time: who was kept from running for less has had its chance
WANTING = ("R", "D")  # states of a thread that wants to run, or will in a moment (proc(5))


class Running:
    """A target that listens.

    Attributes:
        address: where clients reach it.
        owner: the root of the processes that hold the listening socket; None where it cannot be observed.
        baseline: all processes of the target as they were before the first connection.
        observer: whom to ask about processes; None where there is nobody to ask.
    """

    def __init__(self, target: Target, address: Address, observer: Observer | None, guard: Guard) -> None:
        self.target = target
        self.manifest = target.manifest
        self.address = address
        self.observer = observer
        self.guard = guard
        self.owner: Process | None = None
        self.baseline: frozenset[Process] = frozenset()
        self.ours = False  # we started it, so we may end it
        self.launched = 0  # the PID of what the command became
        self.folder: Path | None = None
        self.world = USUAL
        #: Seconds that the owner is given to hand an accepted connection to a process of its own.
        self.handover = 3.0
        self.family: Family = target.manifest.families[0]  # what it listens on
        self.blind = ""  # why it cannot be observed
        self.limit = target.manifest.max_connections
        self.hosted: Hosted | None = None  # who uses it in process, and calls it as we say
        self._efforts: dict[Process, Effort] = {}  # of each process when it was last looked at
        self._spent = Effort(0.0)
        self._port: port.Port | None = None
        self._builds: Builds | None = None  # what was built is needed for as long as this runs

    @property
    def place(self) -> Place:
        """The port or the path that it listens on."""
        return place_of(self.address)

    @property
    def listens_on(self) -> str:
        """That in words."""
        return self.address[0] if is_unix(self.address) else f"port {self.address[1]}"

    def reached(self, via: str) -> Address:
        """Where clients of one family reach it; any family unless told."""
        return (HOSTS["ipv4"], self.address[1]) if via == "ipv4" else self.address

    def listeners(self) -> list[Listener]:
        """The sockets that listen there, whoever holds them; none where it cannot be observed."""
        return self.observer.listeners(self.place) if self.observer else []

    def alive(self, thorough: bool = False) -> list[Facts]:
        """The processes of the target that have not exited (of one that we did not start: those below its owner)."""
        if self.observer is None:
            return []
        root = self.guard.pid if self.ours else self.owner.pid if self.owner else 0
        found = [facts for facts in self.observer.descendants(root, thorough) if facts.alive] if root else []
        if not self.ours and self.owner and (facts := self.observer.facts(self.owner.pid)):
            found.insert(0, facts)
        return found

    def with_descendants(self, processes: Collection[Process]) -> set[Process]:
        """Processes and all that live below them."""
        found = set(processes)
        if observer := self.observer:
            for process in processes:
                found |= {facts.process for facts in observer.descendants(process.pid) if facts.alive}
        return found

    def holders(self, keys: Collection[int]) -> dict[int, set[Process]]:
        """Who holds each of these sockets: looked for among the target's own processes, and everywhere if none of them does."""
        if not keys or self.observer is None:
            return {}
        # One that is handed on at that moment may be seen with neither; that is looked at again before all others are.
        for _ in range(2 if self.ours else 0):
            found = self.observer.holders(keys, [facts.process.pid for facts in self.alive()])
            if any(found.values()):
                return found
        return self.observer.holders(keys)

    def left(self, apart_from: Collection[Process] = frozenset()) -> set[Process]:
        """Who of the target is alive, apart from some. That nobody is takes the look that misses nobody."""
        quick = {facts.process for facts in self.alive()}.difference(apart_from)
        return quick or {facts.process for facts in self.alive(thorough=True)}.difference(apart_from)

    def settled(self) -> bool:
        """No process has come to the baseline; zombies do not count, whoever leaves them is judged for it elsewhere."""
        return {facts.process for facts in self.alive()} <= self.baseline

    def output(self, stream: str) -> str:
        """What it has printed so far, up to the bound."""
        if self.folder is None:
            return ""
        self.guard.sync()
        with suppress(OSError):
            return (self.folder / stream).read_text(errors="replace")
        return ""

    def wait_for(self, look: Callable[[], Value], deadline: Deadline) -> Value:
        """As `deadline.wait_for`, for what a target must do, or must not, however loaded the machine is.

        The time in which its processes wanted to run and were not let is given to it once more, a few times at most.
        """
        return self.persist(lambda seconds: wait_for(look, Deadline(seconds)), max(deadline.left, SETTLING))

    def persist(self, attempt: Callable[[float], Value], seconds: float) -> Value:
        """What comes of an attempt that is given so many seconds; it goes on for as long as the target was not let run, as in `wait_for`."""
        given, now = seconds, self._effort()
        for _ in range(EXTENSIONS):
            if seen := attempt(given):
                return seen
            before, now = now, self._effort()
            missed = now.waited - before.waited
            # The kernel counts a wait when it is over.
            if now.ran - before.ran < seconds * WORTH_WAITING and self.busy():
                missed = seconds
            if missed < seconds * WORTH_WAITING:
                return seen
            given = min(seconds, missed)
        return attempt(given)

    def missed(self) -> float:
        """Seconds in which its processes wanted to run so far and were not let, all of them added up."""
        return self._effort().waited

    def _effort(self) -> Effort:
        """What its processes have been seen to have had of the processors so far, and to have missed.

        Each by itself: the one that has ended meanwhile takes nothing of the others' along.
        """
        if self.observer is None:
            return Effort(0.0)
        efforts = {facts.process: self.observer.effort(facts.process) for facts in self.alive()}
        for process, now in efforts.items():
            before = self._efforts.get(process, Effort(0.0))
            self._spent = Effort(
                self._spent.ran + max(0.0, now.ran - before.ran),
                self._spent.waited + max(0.0, now.waited - before.waited),
            )
        # A quick look may miss one, which is there at the next; those that have gone would add up to all that there ever were.
        missed = set(self._efforts) - set(efforts)
        self._efforts = {one: self._efforts[one] for one in missed if self.observer.alive(one)} | efforts
        return self._spent

    def busy(self) -> bool:
        """Some thread of it wants to run."""
        if self.observer is None:
            return False
        for facts in self.alive():
            tasks = self.observer.tasks(facts.process)
            if any(task.state in WANTING for task in tasks.values()) or facts.state in WANTING:
                return True
        return False

    def announced(self) -> tuple[Stream, int] | None:
        """On which stream it has announced its port, and which; None while it has not, or need not."""
        if not self.manifest.announce:
            return None
        for stream in get_args(Stream):
            found = re.search(self.manifest.announce, self.output(stream))
            if found and found.group(1).isdecimal():
                return stream, int(found.group(1))
        return None

    def exit_status(self, process: Process) -> int | None:
        """How a process that we launched or inherited ended, as waitpid said."""
        return self.guard.status(process.pid)

    def stop(self, politely: bool = True) -> None:
        """End it if it is ours, and everything that came of it; nothing of it is alive afterwards."""
        try:
            if self.ours and politely and self.observer and self.owner and self.observer.alive(self.owner):
                owner, observer = self.owner, self.observer
                observer.send(owner, signal.SIGTERM)
                wait_for(lambda: not observer.alive(owner), Deadline(STOP_WITHIN))
            if self.ours:
                self.guard.end()
            else:
                self.guard.close()
        finally:
            self.ours = False
            # The guardian would a moment later; whoever asks now is to find nothing.
            if self.folder:
                shutil.rmtree(self.folder, ignore_errors=True)
            if self._port:
                self._port.release()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def root_of(processes: Iterable[Process], observer: Observer) -> Process | None:
    """The one that the others descend from; the oldest where they are not of one family."""
    members = {process.pid: process for process in processes}
    for process in sorted(members.values(), key=lambda process: (process.start, process.pid)):
        facts = observer.facts(process.pid)
        if facts is not None and facts.ppid not in members:
            return process
    return None
