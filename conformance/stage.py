"""The stage of one case: its connections, the processes that were seen with them, and what must be put right again."""

from __future__ import annotations

import random
import select
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from forkecho.conformance import wire
from forkecho.conformance.address import Address
from forkecho.conformance.case import Case, names
from forkecho.conformance.deadline import Deadline, crowded, wait_for
from forkecho.conformance.freezer import Freezer
from forkecho.conformance.manifest import Reply
from forkecho.conformance.observe import Census, Effort, Endpoint, Facts, Observer, Process
from forkecho.conformance.payload import Payload
from forkecho.conformance.step import Launch, Open, Scarce
from forkecho.conformance.target import NotReady, Running
from forkecho.conformance.verdict import Unmet, Unobservable
from forkecho.conformance.witness import Witness
from forkecho.conformance.world import World

__all__ = ["PATIENCE", "Launcher", "Sighting", "Stage"]

PATIENCE = 5.0  # seconds; passing cases never wait for it, and a loaded machine needs a part of it
BATCH = 4  # connections opened at a time: the smallest backlog in use is 5 (CONC-10)
SHORT_HANDOVER = 0.3  # seconds; see `Running.handover`


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


class Glance:
    """What was seen in one look at all: who holds each of some connections; once asked, who listens, and who is below the owner."""

    def __init__(self, held: dict[str, set[Process]]) -> None:
        self.held = held
        self.listening: set[Process] | None = None
        self.below: set[Process] | None = None


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
        self.witness = Witness(lambda: self.transcript.now)
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
        self._glance: Glance | None = None
        self._local: dict[Process, tuple[int, ...]] = {}  # see `Observer.local_pids`; they stay what they are
        self._freezer = Freezer(running)
        self._started: list[Running] = []
        self._in_vain: Running | None = None

    @property
    def evidence(self) -> list[dict[str, Any]]:
        """What was seen of processes so far."""
        return self.witness.events

    # Time

    def patience(self, within: float = 0.0, among: int = 1) -> float:
        """Seconds to wait for what must become true, of so many connections."""
        return crowded((within or PATIENCE) * self.scale, among)

    def require(self, expected: str, look: Callable[[], str], within: float = 0.0, among: int = 1) -> None:
        """Wait until `look`, at so many connections, has nothing to object to.

        Raises:
            Unmet: it still objects at the deadline; its last objection is what was seen.
        """
        objection = ""

        def good() -> bool:
            nonlocal objection
            objection = look()
            return not objection

        if not self.comes(good, within, among):
            raise Unmet(f"{expected} within {self.patience(within, among):g} s", objection)

    def comes(self, good: Callable[[], bool], within: float, among: int = 1) -> bool:
        """Wait until it is so, at so many connections; whether it was."""
        patience = self.patience(within, among)
        return self.persist(lambda seconds: wait_for(good, Deadline(seconds)), patience, bound=bool(within))

    def listen(
        self, connections: list[wire.Connection], done: Callable[[wire.Connection], bool], within: float
    ) -> None:
        """Read until each is `done` or over, as `wire.converse` does: for the usual patience, or within a bound if there is one."""

        def attempt(seconds: float) -> bool:
            wire.converse(connections, {}, seconds, done)
            return all(done(one) or one.over for one in connections)

        self.persist(attempt, self.patience(within), bound=bool(within))

    def persist(self, attempt: Callable[[float], bool], seconds: float, *, bound: bool) -> bool:
        """What comes of an attempt within so many seconds. The usual patience is long; a bound is one on the target, not on the machine."""
        return self.running.persist(attempt, seconds) if bound else attempt(seconds)

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
                    if error.errno in wire.OURS:
                        raise Unobservable(
                            f"connection {name} cannot be made, which is not the server's fault: {error.strerror}"
                        ) from None
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
        return wanted.make(self._chance)

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

    @contextmanager
    def glance(self, members: Iterable[str]) -> Iterator[None]:
        """Within it, who holds these connections is answered from one look for all of them, made now.

        To ask for each anew would read all descriptors of the target as often as there are connections.
        """
        ends = {
            name: self.endpoint(one)
            for name in members
            if (one := self.connections.get(name)) and not one.closed
        }
        keys = {name: end.key for name, end in ends.items() if end and end.key}
        found = self.running.holders(set(keys.values()))
        # On its way from one process to another a socket is seen with neither; it is not looked for elsewhere while others are found.
        if missing := {key for key, by in found.items() if not by}:
            found |= self.running.holders(missing)
        held = {name: found[keys[name]] if name in keys else set() for name in ends}
        before, self._glance = self._glance, Glance(held)
        try:
            yield
        finally:
            self._glance = before

    def holders(self, one: wire.Connection) -> set[Process]:
        """The processes that hold the server's end of a connection."""
        if self._glance and one.name in self._glance.held:
            return set(self._glance.held[one.name])
        seen = self.endpoint(one)
        return self.holding({seen.key} if seen and seen.key else ())

    def holding(self, keys: Collection[int]) -> set[Process]:
        """The processes that hold any of these sockets."""
        return set().union(*self.running.holders(keys).values())

    @property
    def unclosed(self) -> list[str]:
        """The names of the connections that we have not closed."""
        return [name for name, one in self.connections.items() if not one.closed]

    def listening(self) -> set[Process]:
        """The processes that hold a listener on the target's port."""
        glance = self._glance
        if glance and glance.listening is not None:
            return set(glance.listening)
        found = self.holding({one.key for one in self.observer.listeners(self.running.place)})
        if glance:
            glance.listening = set(found)
        return found

    def below_owner(self) -> set[Process]:
        """The processes that descend from the listener's owner."""
        glance = self._glance
        if glance and glance.below is not None:
            return glance.below
        found = {facts.process for facts in self.observer.descendants(self.owner.pid)}
        if glance:
            glance.below = found
        return found

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
            if facts := self._sight(self.older.setdefault(name, {}), process):
                self._introduce()
                self.witness.holds(name, facts)
        family = self.running.with_descendants(new)
        for process in [process for process in known if process not in family and self.alive(process)]:
            below = self.running.with_descendants({process})
            if not new:
                family |= below
            elif not below & new:
                del known[process]
        for process in family:
            if facts := self._sight(known, process):
                self._introduce()
                self.witness.born(name, facts, holds=process in held)
        self.witness.held(name, held)
        return {process for process in known if self.alive(process)}

    def alive(self, process: Process) -> bool:
        """It has not exited; where it has, that is evidence."""
        if self.observer.alive(process):
            return True
        self.witness.ended(process, self.observer.facts(process.pid))
        return False

    def _introduce(self) -> None:
        """Before anything else is told, who owns the listener."""
        self.witness.introduce(self.running.owner, self.observer)

    def _sight(self, known: dict[Process, Sighting], process: Process) -> Facts | None:
        """Remember a process, with what will be gone when it has; what is known of it, if it was not seen before."""
        facts = self.observer.facts(process.pid)
        if process in known or facts is None or facts.process != process:
            return None
        parent = self.observer.facts(facts.ppid)
        known[process] = Sighting(
            facts=facts,
            local=self.observer.local_pids(process),
            parent=self._local_pids(parent.process) if parent else (facts.ppid,),
        )
        return facts

    def _local_pids(self, parent: Process) -> tuple[int, ...]:
        """Of who is the parent of many, asked once."""
        if parent not in self._local:
            self._local[parent] = self.observer.local_pids(parent)
        return self._local[parent]

    def tell(self, event: str, on: str, process: Process) -> None:
        """Put what was done to a process into the evidence."""
        if self.running.observer and (facts := self.running.observer.facts(process.pid)):
            self._introduce()
            self.witness.tell(event, on, facts)

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
            with self.glance(left):
                left[:] = [name for name in left if not self._handed_over(name)]
            return not left

        if not wait_for(done, Deadline(self.patience(self.running.handover, len(wanted)))):
            # Seen to serve by itself: it need not be waited for as long again.
            self.running.handover = SHORT_HANDOVER

    def _handed_over(self, name: str) -> bool:
        """The connection has left the owner's hands, or has gone."""
        family = self.family(name)
        if held := self.holders(self.connection(name)):
            return bool(family) and self.running.owner not in held
        # One that somebody must have and nobody is seen to is on its way, sent by one process and not yet taken by the next.
        seen = self.endpoint(self.connection(name))
        return seen is None or not seen.key

    def strangers(self, apart_from: Iterable[str]) -> set[Process]:
        """The live processes of the target that were not there at first, and not for one of those connections."""
        theirs: set[Process] = set()
        others = list(apart_from)
        with self.glance(others):
            for name in others:
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
        freezer, before = self._freezer, set(self._freezer.frozen)
        try:
            # Not the target's fault if it cannot be stopped, so this is no requirement.
            if not wait_for(lambda: freezer.stop(self.named(value)), Deadline(self.patience())):
                raise Unobservable(f"{self.describe(freezer.frozen - before)} could not be frozen")
        except PermissionError:
            raise Unobservable(f"{self.describe(freezer.frozen - before)} may not be frozen by us") from None
        for process in sorted(freezer.frozen - before):
            self.tell("frozen", " ".join(names(value)), process)

    def thaw(self, value: str | list[str] | None = None) -> None:
        """Let processes go on; all that were frozen when none are named."""
        wanted = set(self._freezer.frozen)
        if value is not None:
            wanted = {
                process for name in self.members(value) for process in wanted if self._is(process, name)
            }
        self._freezer.thaw(wanted)
        for process in wanted:
            self.tell("thawed", "", process)

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
        self.await_handover(self.unclosed)
        everybody = {facts.process for facts in self.running.alive()}
        chosen = everybody & self.listening() if what == "descriptors" else everybody
        self.limits[what] = self.observer.effort(self.owner)
        try:
            self.running.guard.limit(what, chosen)
        except PermissionError as error:
            raise Unobservable(f"to let the target have no more {what} {error}") from None
        for process in chosen:
            self.tell(f"allowed no more {what}", "", process)

    def lift(self, what: Scarce) -> None:
        """Lift a limit; harmless when there is none."""
        if self.limits.pop(what, None) is not None:
            self.running.guard.lift(what)

    def _send_all(self, processes: set[Process], number: signal.Signals, value: str | list[str]) -> None:
        for process in processes:
            self.tell(f"sent {number.name}", " ".join(names(value)), process)
            self._send(process, number)

    def signal(self, number: signal.Signals, value: str | list[str], again: float = 0.0) -> None:
        """Send a signal to processes, and once more to those that are still there after `again` seconds."""
        self.signalled = number
        left = self.named(value)
        self._send_all(left, number, value)
        if number is signal.SIGKILL and not {"owner", "baseline", "all"} & set(names(value)):
            wait_for(lambda: self._killed(value, left), Deadline(self.patience()))
        # One that was not let run since has not been told yet: of two that it is sent at a time it would see one.
        if again and not self.comes(lambda: not any(self.observer.alive(one) for one in left), again):
            self._send_all({one for one in left if self.observer.alive(one)}, number, value)

    def _killed(self, value: str | list[str], sent: set[Process]) -> bool:
        """None of a connection's processes is left; one that was forked while they were being killed is killed as well."""
        left = {process for name in self.members(value) for process in self.family(name)}
        self._send_all(left - sent, signal.SIGKILL, value)
        sent |= left
        return not left

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
        self.thaw()
        self._started.append(running)
        self.running, self._freezer = running, Freezer(running)
        self.born.clear()
        self.older.clear()
        self._local.clear()

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
        """Look once more at the processes that were told of; thaw and close everything, whatever has happened."""
        try:
            if self.running.observer:
                self.witness.look_once_more(self.running.observer)
        finally:
            self._put_right()

    def _put_right(self) -> None:
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
