"""The clients of a classification, who is seen with their connections, and what is frozen meanwhile."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import TypeVar

from forkecho.conformance import wire
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.freezer import Freezer
from forkecho.conformance.manifest import Reply
from forkecho.conformance.model import Evidence
from forkecho.conformance.observe import Census, Endpoint, Observer, Process, Task
from forkecho.conformance.stage import brief
from forkecho.conformance.target import Running

__all__ = ["DONE_AFTER", "PATIENCE", "Answer", "Client", "Scene", "Undecided"]

Value = TypeVar("Value")

PATIENCE = 5.0  # seconds for what a working target does at once
#: Seconds in which nobody of the target has wanted to run, after which it is believed to wait for something else than us.
SILENT_FOR = 1.0
#: The same, before a connection is believed to stay with whoever holds it.
HANDED_OVER_WITHIN = 0.1
#: The same, before who served a connection is believed to have done with it for good.
DONE_AFTER = 0.3
#: The same, before a target is believed to have started all that it starts by itself.
STARTED_AFTER = 0.03
CONNECT_WITHIN = 0.5  # seconds; where a backlog is full, the kernel tries again after one
SETTLED_WITHIN = 1.0  # seconds for a target to be asleep after an answer
MESSAGE = b"ping"


class Undecided(Exception):
    """No model can be named; says why."""


class Answer(Enum):
    """What became of a message."""

    CAME = auto()  # the whole echo
    QUEUED = auto()  # nobody has accepted the connection (its socket has no inode), and nobody wants to run
    HELD = auto()  # somebody has, and nobody wants to run
    ENDED = auto()  # the connection has ended without it


class Client:
    """One connection, who was there before it, and who was seen with it since.

    Attributes:
        before: the threads of each process of the target, as they were before the connection was made.
        born: those that held it and were not alive before it.
        older: those that held it and were.
    """

    def __init__(self, one: wire.Connection, census: Census, before: dict[Process, frozenset[int]]) -> None:
        self.one, self.census, self.before = one, census, before
        self.born: set[Process] = set()
        self.older: set[Process] = set()

    @property
    def name(self) -> str:
        """What the evidence calls it."""
        return self.one.name

    @property
    def held_by(self) -> set[Process]:
        """All that were last seen to hold it."""
        return self.born | self.older


class Scene:
    """A running target with our clients.

    Args:
        running: the target; nobody else may use it meanwhile.
        scale: what deadlines are multiplied with, if it is above 1: what a working target does must not be missed.
        budget: seconds for all of it.
    """

    def __init__(self, running: Running, scale: float, budget: float) -> None:
        self.running = running
        self.scale = max(1.0, scale)
        self._budget = Deadline(budget * self.scale)
        self.transcript = wire.Transcript()
        self.evidence: list[Evidence] = []
        self.one_shot = running.manifest.one_shot
        self._clients: list[Client] = []
        self._reply = Reply(running.manifest.reply)
        self._freezer = Freezer(running)

    @property
    def observer(self) -> Observer:
        """Whom to ask.

        Raises:
            Undecided: there is nobody to ask.
        """
        if self.running.observer is None:
            raise Undecided(self.running.blind or "the target's processes cannot be observed")
        return self.running.observer

    def note(self, step: str, seen: str) -> None:
        """Put something into the evidence."""
        self.evidence.append(Evidence(t=self.transcript.now, step=step, seen=seen))

    def describe(self, processes: Iterable[Process]) -> str:
        """Processes in words, the first six of them."""
        told = []
        for process in sorted(processes)[:6]:
            facts = self.observer.facts(process.pid)
            role = (
                "the listener's owner"
                if process == self.running.owner
                else brief(facts.command if facts else "")
            )
            told.append(f"{process.pid} ({role or 'gone'})")
        return "process " + ", ".join(told) if told else "nobody"

    # Time

    def until(self, look: Callable[[], Value], patience: float, quiet: float = 0.0) -> Value:
        """What `look` returns once it is true, or what it returned in the end.

        The end is after `patience` seconds in which the target was let run; or before, when nobody of it has wanted to run for
        `quiet` seconds: it waits for something else than time to run, then.

        Raises:
            Undecided: all of it has taken longer than it may.
        """
        quiet_since = time.monotonic()
        seen = look()

        def over() -> bool:
            nonlocal quiet_since, seen
            # Asked before: who comes to rest between the two has done by then what is looked for.
            if not quiet or self.running.busy():
                quiet_since = time.monotonic()
            if seen := look():
                return True
            return quiet > 0 and time.monotonic() - quiet_since > quiet * self.scale

        def attempt(seconds: float) -> Value:
            wait_for(over, Deadline(min(seconds, self._budget.left)))
            return seen

        if not seen:
            self.running.persist(attempt, patience * self.scale)
        if not seen and self._budget.passed:
            raise Undecided(f"it could not be told within {self._budget.seconds:g} s")
        return seen

    def rest(self) -> None:
        """Wait for the target to have started what it starts by itself: a worker born late would seem born for a client."""
        self.until(lambda: False, SETTLED_WITHIN, STARTED_AFTER)

    # Connections

    def open(self, name: str, patience: float = CONNECT_WITHIN) -> Client | None:
        """A new connection; None when it could not be made in so many seconds because the queue of the listener is full.

        Raises:
            Undecided: it was refused.
        """
        census = self.observer.census()
        before = {
            facts.process: frozenset(self.observer.tasks(facts.process)) for facts in self.running.alive()
        }
        try:
            channel = wire.connect(self.running.address, Deadline(patience * self.scale))
        except wire.CannotConnect as error:
            if error.errno == errno.ETIMEDOUT:
                return None
            raise Undecided(f"connection {name} was not made: {error.strerror}") from None
        client = Client(wire.Connection(name, channel, self._reply, self.transcript, ""), census, before)
        self._clients.append(client)
        return client

    def meet(self, name: str) -> Client:
        """A new connection that is served, handed over to whoever is to serve it; who holds it is known.

        In a stream one message has been answered; with one-shot framing nothing was sent, or it would be over.

        Raises:
            Undecided: it is not served.
        """
        client = self.open(name)
        answer = self.greet(client) if client else Answer.QUEUED
        if client is None or answer is not Answer.CAME:
            raise Undecided(f"connection {name} is not served: {self.fate(client, answer)}")
        self.look(client)
        return client

    def greet(self, client: Client) -> Answer:
        """Have it served: in a stream a message and its answer; with one-shot framing it need but be accepted."""
        return self.answer(client, accepted_will_do=True) if self.one_shot else self.talk(client)

    def talk(self, client: Client, patience: float = PATIENCE) -> Answer:
        """Send a message, and see what becomes of it."""
        client.one.write(MESSAGE)
        return self.answer(client, patience)

    def answer(self, client: Client, patience: float = PATIENCE, *, accepted_will_do: bool = False) -> Answer:
        """What becomes of what was sent: silence is believed only while nobody of the target wants to run."""
        one = client.one

        def look() -> Answer | None:
            while not one.over and one.read():
                pass
            if one.sent and one.whole:
                return Answer.CAME
            if one.over:
                return Answer.ENDED
            end = self.endpoint(client) if accepted_will_do else None
            return Answer.CAME if end and end.key else None

        return self.until(look, patience, SILENT_FOR) or self._silent(self.endpoint(client))

    @staticmethod
    def _silent(end: Endpoint | None) -> Answer:
        return Answer.QUEUED if end and not end.key else Answer.HELD

    def fate(self, client: Client | None, answer: Answer) -> str:
        """What became of a message, in words."""
        if client is None:
            return "the listener's queue is full"
        if answer is Answer.QUEUED:
            return "nobody has accepted it"
        if answer is Answer.CAME:
            return "it is served"
        held = self.describe(self.holders(client))
        return f"it is held by {held}, and what came is: {client.one}"

    def close(self, client: Client) -> None:
        """Close our end."""
        client.one.close()

    # Processes

    def endpoint(self, client: Client) -> Endpoint | None:
        """The server's end of a connection."""
        return self.observer.endpoint(client.one.remote, client.one.local)

    def holders(self, client: Client) -> set[Process]:
        """Who holds the server's end."""
        end = self.endpoint(client)
        return self.holding({end.key}) if end and end.key else set()

    def holding(self, keys: set[int]) -> set[Process]:
        """Who holds any of these sockets.

        A process may have gone since it was seen to hold one: nobody, then.
        """
        found: set[Process] = set().union(*self.running.holders(keys).values())
        return {process for process in found if self.observer.alive(process)}

    def listening(self) -> set[Process]:
        """Who holds a listener on the port."""
        return self.holding({one.key for one in self.running.listeners()})

    def look(self, client: Client) -> None:
        """Who holds it, once that changes no more: a process of its own alone, or somebody who is in no hurry."""

        def handed_over() -> bool:
            held = self.holders(client)
            client.older = {process for process in held if client.census.knew(process)}
            client.born = held - client.older
            # Who is born may be about to fork again, and to go.
            return bool(client.born and not client.older and not self.running.busy())

        self.until(handed_over, SETTLED_WITHIN, HANDED_OVER_WITHIN)
        if not client.held_by:
            raise Undecided(f"who holds connection {client.name} cannot be seen")
        new = (
            f"born for it: {', '.join(str(one.pid) for one in sorted(client.born))}"
            if client.born
            else "no new one"
        )
        self.note(f"connection {client.name}", f"held by {self.describe(client.held_by)}; {new}")

    def family(self, client: Client) -> set[Process]:
        """Those born for a connection and all that live below them."""
        found = {process for process in client.born if self.observer.alive(process)}
        if not found:  # a process in between, which has forked once more and gone
            found = {process for process in self.holders(client) if not client.census.knew(process)}
            client.born |= found
        return self.running.with_descendants(found)

    def everybody(self) -> set[Process]:
        """All live processes of the target."""
        return {facts.process for facts in self.running.alive()}

    def tasks(self, processes: Iterable[Process]) -> dict[int, Task]:
        """The threads of some processes; their numbers are the system's, so that they can be put together."""
        found: dict[int, Task] = {}
        for process in processes:
            found |= self.observer.tasks(process)
        return found

    def settle(self, processes: Iterable[Process]) -> dict[int, Task]:
        """The threads of some processes once all are asleep: the same at two looks with a moment between them.

        Who has not gone to sleep yet when the next message comes never does, and would not be seen to wake.
        """
        wanted = list(processes)
        before: dict[int, Task] = {}

        def look() -> bool:
            nonlocal before
            now = self.tasks(wanted)
            same, before = now == before, now
            return same and not any(task.state in ("R", "D") for task in now.values())

        self.until(look, SETTLED_WITHIN)
        return before

    @contextmanager
    def frozen(self, wanted: Callable[[], set[Process]]) -> Iterator[None]:
        """Processes stopped, whoever is among them when all threads of each are; thawed afterwards, whatever happens.

        Raises:
            Undecided: one cannot be.
        """
        try:
            if not self.until(lambda: self._freezer.stop(wanted()), PATIENCE):
                raise Undecided(f"{self.describe(self._freezer.frozen)} cannot be frozen")
            yield
        except PermissionError:
            raise Undecided(f"{self.describe(self._freezer.frozen)} may not be frozen by us") from None
        finally:
            self._freezer.thaw(set(self._freezer.frozen))

    def clear(self) -> None:
        """Close everything."""
        for client in self._clients:
            client.one.close()
