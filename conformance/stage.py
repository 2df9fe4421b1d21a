"""The stage of one case: its connections, the processes that were seen with them, and what must be put right again."""

from __future__ import annotations

import random
import select
import signal
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from forkecho.conformance import wire
from forkecho.conformance.address import Address
from forkecho.conformance.case import Case, names
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.manifest import Reply
from forkecho.conformance.observe import Census, Effort, Endpoint, Facts, Observer, Process
from forkecho.conformance.step import Launch, Open, Payload, Scarce
from forkecho.conformance.target import NotReady, Running
from forkecho.conformance.verdict import Unmet, Unobservable
from forkecho.conformance.world import World

__all__ = ["PATIENCE", "Launcher", "Sighting", "Stage"]

PATIENCE = 5.0  # seconds; passing cases never wait for it, and a loaded machine needs a part of it
BATCH = 4  # connections opened at a time: the smallest backlog in use is 5 (CONC-10)
SHORT_HANDOVER = 0.3  # seconds; see `Running.handover`
EVIDENCE_MAX = 200  # processes told of one case


def brief(command: str) -> str:
    """A command line for a sentence: no folders, at most 60 characters."""
    return " ".join(word.rpartition("/")[2] or word for word in command.split())[:60]


class Launcher(Protocol):
    """Who starts the target once more for a case."""

    def start(self, options: Launch, on: Address | None, world: World | None = None) -> Running:
        """One that listens; see `run.Bench.start`."""

    def begin(self, beside: Running | None) -> Running:
        """One that is not waited for; see `run.Bench.begin`."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A process as it was first seen: what it is called in its own PID namespace and whose child it was."""

    facts: Facts
    local: tuple[int, ...]
    parent: tuple[int, ...]


class Stage:
    """What the steps of one case share.

    Args:
        case: what is being played.
        running: the target.
        seed: of the payloads; the case's own, so that a case alone sends what it sends in a whole run.
        scale: what deadlines are multiplied with.
        launcher: starts the target once more for the case.
    """

    def __init__(self, case: Case, running: Running, seed: int, scale: float, launcher: Launcher) -> None:
        self._launcher = launcher
        self.case = case
        self._observes = case.observes  # asked for every connection, and it looks through all steps
        self.running = running
        self.scale = scale
        self.transcript = wire.Transcript()
        self.evidence: list[dict[str, Any]] = []
        self.connections: dict[str, wire.Connection] = {}
        self.groups: dict[str, list[str]] = {}
        self.marks: dict[str, Any] = {}
        # Of a server that is used in process: by name, the number of the last call.
        self.calls: dict[str, int] = {}
        self.not_the_servers: set[Process] = set()  # children that its host has borne
        # By connection, those that were born for it, and those that held it and were there before.
        self.born: dict[str, dict[Process, Sighting]] = {}
        self.older: dict[str, dict[Process, Sighting]] = {}
        self.signalled: signal.Signals | None = None
        # What the target may have no more of, and what its owner had had of the processors when that began.
        self.limits: dict[Scarce, Effort] = {}
        self._reply = Reply(running.manifest.reply)
        self._chance = random.Random(f"{seed} {case.id}")
        self._pending: dict[str, tuple[Any, Open]] = {}
        self._censuses: dict[str, Census] = {}
        self._frozen: set[Process] = set()
        self._started: list[Running] = []
        self._in_vain: Running | None = None

    # Time

    def patience(self, within: float = 0.0) -> float:
        """Seconds to wait for what must become true."""
        return (within or PATIENCE) * self.scale

    def require(self, expected: str, look: Callable[[], str], within: float = 0.0) -> None:
        """Wait until `look` has nothing to object to.

        Raises:
            Unmet: it still objects at the deadline; its last objection is what was seen.
        """
        objection = ""

        def good() -> bool:
            nonlocal objection
            objection = look()
            return not objection

        patience = self.patience(within)
        if not wait_for(good, Deadline(patience)):
            raise Unmet(f"{expected} within {patience:g} s", objection)

    # Connections

    def open(self, step: Open) -> None:
        """Begin the connections of a step; unless it says `queued`, in batches that are waited for."""
        wanted = names(step.open)
        if step.count:
            assert isinstance(step.open, str)
            wanted = [f"{step.open}{number}" for number in range(1, step.count + 1)]
            self.groups[step.open] = wanted
        for start in range(0, len(wanted), len(wanted) if step.queued else BATCH):
            batch = wanted[start : start + (len(wanted) if step.queued else BATCH)]
            census = self.running.observer.census() if self._observes and self.running.observer else None
            for name in batch:
                try:
                    channel = wire.begin(self.running.reached(step.via), step.receive_buffer)
                except wire.CannotConnect as error:
                    raise Unmet(f"connection {name} to be made", str(error.strerror)) from None
                self._pending[name] = (channel, step)
                # A name that is used again stands for the new connection.
                for known in (self.born, self.older):
                    known.pop(name, None)
                if census:
                    self._censuses[name] = census
            if not step.queued:
                for name in batch:
                    self.connection(name)
                if step.count > BATCH and self.running.observer:
                    self._await_accepted(batch)

    def _await_accepted(self, batch: list[str]) -> None:
        """A batch that is still in the backlog would make the next one overflow it."""
        for name in batch:
            one = self.connections[name]

            def taken(one: wire.Connection = one) -> bool:
                seen = self.endpoint(one)
                return seen is None or bool(seen.key)

            patience = self.patience()
            if not wait_for(taken, Deadline(patience)):
                ends = (self.endpoint(other) for other in self.connections.values() if not other.closed)
                held = sum(bool(end and end.key) for end in ends)
                raise Unmet(
                    f"connection {name} to be accepted within {patience:g} s",
                    f"nobody has accepted it, while {held} others are held",
                )

    def connection(self, name: str) -> wire.Connection:
        """The connection of that name, made if need be.

        Raises:
            Unmet: it cannot be made.
        """
        if name in self._pending:
            channel, step = self._pending.pop(name)
            try:
                wire.finish(channel, Deadline(self.patience()))
                made = wire.Connection(name, channel, self._reply, self.transcript, step.style)
            except OSError as error:
                raise Unmet(f"connection {name} to be made", str(error.strerror or error)) from None
            self.connections[name] = made
            self.transcript.note(name, "connected", local=made.local[1])
        elif name not in self.connections:
            self.open(Open(open=name))
        return self.connections[name]

    def pending(self, name: str) -> bool:
        """A connect was begun and not waited for."""
        return name in self._pending

    def finish(self, name: str, deadline: Deadline) -> bool:
        """Wait until a connect that was begun is done; False if it is not by the deadline. It can be waited for again."""
        if name not in self._pending:
            return True
        poll = select.poll()
        poll.register(self._pending[name][0], select.POLLOUT)
        if not poll.poll(deadline.left * 1000):
            return False
        self.connection(name)
        return True

    def members(self, value: str | list[str] | bool, default: str | list[str] = "a") -> list[str]:
        """The names that a step is about, groups resolved."""
        return [member for name in names(value, default) for member in self.groups.get(name, [name])]

    def all(self, value: str | list[str] | bool, default: str | list[str] = "a") -> list[wire.Connection]:
        """The connections that a step is about, made if need be."""
        return [self.connection(name) for name in self.members(value, default)]

    def payload(self, wanted: Payload) -> bytes:
        """The bytes that a payload stands for; random ones differ each time."""
        if wanted.text is not None:
            return wanted.text.encode()
        if wanted.hex is not None:
            return bytes.fromhex(wanted.hex)
        if wanted.every_byte is not None:
            return bytes(range(256)) * wanted.every_byte
        if wanted.counter is not None:
            return array("I", range(wanted.counter // 4 + 1)).tobytes()[: wanted.counter]
        return self._chance.randbytes(wanted.random or 0)

    # Processes

    @property
    def observer(self) -> Observer:
        """Whom to ask about processes.

        Raises:
            Unobservable: there is nobody to ask.
        """
        if self.running.observer is None:
            raise Unobservable(self.running.blind or "the target's processes cannot be observed")
        return self.running.observer

    @property
    def owner(self) -> Process:
        """The owner of the listener, as it was before the first connection."""
        if self.observer and self.running.owner is None:
            raise Unobservable("the owner of the listening socket is not known")
        assert self.running.owner is not None
        return self.running.owner

    def endpoint(self, one: wire.Connection) -> Endpoint | None:
        """The server's end of a connection."""
        return self.observer.endpoint(one.remote, one.local)

    def holders(self, one: wire.Connection) -> set[Process]:
        """The processes that hold the server's end of a connection."""
        seen = self.endpoint(one)
        return self._holders({seen.key}) if seen and seen.key else set()

    def _holders(self, keys: Iterable[int]) -> set[Process]:
        return set().union(*self._by_key(set(keys)).values())

    def _by_key(self, keys: set[int]) -> dict[int, set[Process]]:
        """Who holds each socket: looked for among the target's own processes, and everywhere if none of them does."""
        if not keys:
            return {}
        if self.running.ours:
            found = self.observer.holders(keys, [facts.process.pid for facts in self.running.alive()])
            if any(found.values()):
                return found
        return self.observer.holders(keys)

    def holders_of_all(self) -> dict[str, set[Process]]:
        """Who holds each open connection, by its name; one look at the descriptors for all of them."""
        ends = {name: self.endpoint(one) for name, one in self.connections.items() if not one.closed}
        keys = {name: end.key for name, end in ends.items() if end and end.key}
        found = self._by_key(set(keys.values()))
        return {name: found[key] for name, key in keys.items()}

    def listening(self) -> set[Process]:
        """The processes that hold a listener on the target's port."""
        return self._holders({one.key for one in self.observer.listeners(self.running.place)})

    def family(self, name: str) -> set[Process]:
        """The processes born for a connection: those that hold it and were not alive before it, and all below them.

        What was once seen is remembered, so that it can be asked later whether it has gone; but not who has let go of the
        connection while others hold it: a child forked for the next one holds it for a moment too, until it has closed it.
        """
        one = self.connection(name)
        held = self.holders(one)
        census = self._censuses[name]
        known = self.born.setdefault(name, {})
        new = {process for process in held if not census.knew(process)}
        for process in held - new:
            self._sight(self.older.setdefault(name, {}), process)
        family = self._with_descendants(new)
        for process in [
            process for process in known if process not in family and self.observer.alive(process)
        ]:
            below = self._with_descendants({process})
            if not new:
                family |= below
            elif not below & new:
                del known[process]
        for process in family:
            if facts := self._sight(known, process):
                self.witness("born", name, facts)
        return {process for process in known if self.observer.alive(process)}

    def _with_descendants(self, processes: set[Process]) -> set[Process]:
        """Processes and all that live below them."""
        found = set(processes)
        for process in processes:
            found |= {facts.process for facts in self.observer.descendants(process.pid) if facts.alive}
        return found

    def _sight(self, known: dict[Process, Sighting], process: Process) -> Facts | None:
        """Remember a process, with what will be gone when it has; what is known of it, if it was not seen before."""
        facts = self.observer.facts(process.pid)
        if process in known or facts is None or facts.process != process:
            return None
        parent = self.observer.facts(facts.ppid)
        known[process] = Sighting(
            facts=facts,
            local=self.observer.local_pids(process),
            parent=self.observer.local_pids(parent.process) if parent else (facts.ppid,),
        )
        return facts

    def witness(self, event: str, on: str, facts: Facts) -> None:
        """Put an event of a process into the evidence."""
        if len(self.evidence) < EVIDENCE_MAX:
            pid, start = facts.process
            told = {
                "pid": pid,
                "start": start,
                "ppid": facts.ppid,
                "state": facts.state,
                "command": facts.command,
            }
            self.evidence.append({"t": self.transcript.now, "event": event, "on": on, **told})

    def describe(self, processes: Iterable[Process]) -> str:
        """Processes in words."""
        told = []
        for process in sorted(processes)[:6]:
            facts = self.observer.facts(process.pid)
            role = " (the listener's owner)" if process == self.running.owner else ""
            told.append(f"{process.pid}{role}{' ' + brief(facts.command) if facts and not role else ''}")
        return "process " + ", ".join(told) if told else "nobody"

    def await_handover(self, wanted: list[str]) -> None:
        """Wait until a process that was born for each connection holds it, and the owner does not; not for ever."""
        left = list(wanted)

        def done() -> bool:
            left[:] = [name for name in left if not self._handed_over(name)]
            return not left

        if not wait_for(done, Deadline(self.running.handover * self.scale)):
            # Seen to serve by itself: it need not be waited for as long again.
            self.running.handover = SHORT_HANDOVER

    def _handed_over(self, name: str) -> bool:
        """The connection has left the owner's hands, or has gone."""
        family = self.family(name)
        held = self.holders(self.connection(name))
        return not held or (bool(family) and self.running.owner not in held)

    def strangers(self, apart_from: Iterable[str]) -> set[Process]:
        """The live processes of the target that were not there at first, and not for one of those connections."""
        theirs: set[Process] = set()
        for name in apart_from:
            theirs |= self.family(name)
        return self.running.left(apart_from=self.running.baseline | theirs)

    def named(self, value: str | list[str]) -> set[Process]:
        """The processes that names stand for: `owner`, `baseline`, `all`, or those born for a connection."""
        found: set[Process] = set()
        for name in self.members(value):
            if name == "owner":
                found.add(self.owner)
            elif name == "baseline":
                found |= set(self.running.baseline) | {self.owner}
            elif name == "all":
                found |= {facts.process for facts in self.running.alive()}
            else:
                found |= self._accepted_family(name)
        return found

    def _accepted_family(self, name: str) -> set[Process]:
        """The processes born for a connection, once there are any.

        Raises:
            Unmet: there are none, and the requirement is about them.
            Unobservable: there are none, so what the case does to them cannot be done.
        """

        def look() -> str:
            return (
                ""
                if self.family(name)
                else f"it is held by {self.describe(self.holders(self.connection(name)))}"
            )

        try:
            self.require(f"connection {name} to be held by a process that was born for it", look)
        except Unmet as error:
            if self.case.requirement.group in ("FORK", "HYG", "ROB"):
                raise
            raise Unobservable(f"connection {name} has no process of its own: {error.seen}") from None
        return self.family(name)

    def freeze(self, value: str | list[str]) -> None:
        """Stop processes until every thread of each is stopped, and of what they still forked meanwhile."""
        observer = self.observer

        def look() -> str:
            wanted = self.named(value)
            fresh = wanted - self._frozen
            self._frozen |= fresh
            if fresh:
                self.running.guard.frozen(self._frozen)
            for process in fresh:
                self._send(process, signal.SIGSTOP)
            running = [process for process in wanted if not observer.stopped(process)]
            return f"{self.describe(running)} still runs" if fresh or running else ""

        # Not the target's fault if it cannot be stopped, so this is no requirement.
        if not wait_for(lambda: not look(), Deadline(self.patience())):
            raise Unobservable(f"a process could not be frozen: {look()}")
        for process in self._frozen:
            if facts := observer.facts(process.pid):
                self.witness("frozen", " ".join(names(value)), facts)

    def thaw(self, value: str | list[str] | None = None) -> None:
        """Let processes go on; all that were frozen when none are named."""
        wanted = set(self._frozen)
        if value is not None:
            wanted = {
                process for name in self.members(value) for process in self._frozen if self._is(process, name)
            }
        for process in wanted:
            if self.running.observer and (facts := self.running.observer.facts(process.pid)):
                self.witness("thawed", "", facts)
            with suppress(Unobservable):
                self._send(process, signal.SIGCONT)
        self._frozen -= wanted
        if wanted:
            self.running.guard.frozen(self._frozen)

    def _is(self, process: Process, name: str) -> bool:
        if name == "owner":
            return process == self.running.owner
        if name in ("baseline", "all"):
            return name == "all" or process in self.running.baseline
        return process in self.born.get(name, ())

    def limit(self, what: Scarce) -> None:
        """Let the target have no more of something: no descriptors for whoever holds its listener, or no processes.

        Raises:
            Unobservable: that is not permitted here.
        """
        # What the owner has still to let go of would be free in a moment.
        self.await_handover([name for name, one in self.connections.items() if not one.closed])
        everybody = {facts.process for facts in self.running.alive()}
        chosen = everybody & self.listening() if what == "descriptors" else everybody
        self.limits[what] = self.observer.effort(self.owner)
        try:
            self.running.guard.limit(what, chosen)
        except PermissionError as error:
            raise Unobservable(f"to let the target have no more {what} {error}") from None
        self._witness_all(f"allowed no more {what}", chosen)

    def lift(self, what: Scarce) -> None:
        """Lift a limit; harmless when there is none."""
        if self.limits.pop(what, None) is not None:
            self.running.guard.lift(what)

    def _witness_all(self, event: str, processes: Iterable[Process]) -> None:
        for process in processes:
            if facts := self.observer.facts(process.pid):
                self.witness(event, "", facts)

    def signal(self, number: signal.Signals, value: str | list[str]) -> None:
        """Send a signal to processes."""
        self.signalled = number
        for process in self.named(value):
            if facts := self.observer.facts(process.pid):
                self.witness(f"sent {number.name}", " ".join(names(value)), facts)
            self._send(process, number)

    def _send(self, process: Process, number: int) -> None:
        try:
            self.observer.send(process, number)
        except PermissionError:
            raise Unobservable(
                f"process {process.pid} belongs to another user and cannot be signalled"
            ) from None

    def relaunch(self) -> None:
        """Start the target again where it was, while what the first one left behind is still there.

        Raises:
            Unmet: it does not come to listen there.
        """
        before = self.running
        try:
            successor = self._launcher.start(self.case.launch, before.address)
        except NotReady as error:
            raise Unmet(f"the server to start again on {before.listens_on}", str(error)) from None
        self._take(successor)

    def launch_another(self, step: Launch) -> None:
        """Start one more, in the world of the step; all that follows is about it.

        Raises:
            Unmet: it does not come to listen, as the one before did in the usual world.
            Unobservable: where it announces its port is not known.
        """
        world = step.world()
        if step.full_output:
            announced = wait_for(self.running.announced, Deadline(self.patience(2.0)))
            if announced is None:
                raise Unobservable("on which stream the target announces its port was not seen")
            world = msgspec.structs.replace(world, full=announced[0])
        try:
            another = self._launcher.start(step, None, world)
        except NotReady as error:
            raise Unmet(f"the server to start and to listen {world}".strip(), str(error)) from None
        self._take(another)

    def _take(self, running: Running) -> None:
        self._started.append(running)
        self.running = running
        self.born.clear()
        self.older.clear()

    def launch_in_vain(self, step: Launch) -> None:
        """Start one more where somebody listens already; see `in_vain`."""
        try:
            self._in_vain = self._launcher.begin(self.running if step.launch == "second" else None)
        except NotReady as error:
            raise Unobservable(f"it could not be started once more: {error}") from None
        self._started.append(self._in_vain)

    @property
    def in_vain(self) -> Running:
        """The one that was started where somebody listens already."""
        assert self._in_vain, "no step has launched one in vain"
        return self._in_vain

    # The end

    def clear(self) -> None:
        """Thaw and close everything, whatever has happened."""
        try:
            self.thaw()
            for what in tuple(self.limits):
                self.lift(what)
        finally:
            for channel, _ in self._pending.values():
                channel.close()
            for one in self.connections.values():
                one.close()
            for running in reversed(self._started):
                running.stop()
