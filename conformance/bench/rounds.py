"""The rounds of a measurement: in each, every server is measured once with every number of clients, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from forkecho.conformance import wire
from forkecho.conformance.bench.generator import DRAIN, MARGIN, PAYLOAD
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.manifest import Reply
from forkecho.conformance.measurement import Memory, Window
from forkecho.conformance.observe import Cost, Meter, Process
from forkecho.conformance.target import Running
from forkecho.conformance.wire import CannotConnect, Connection, Transcript, converse

__all__ = ["Course", "Ended", "Generate", "Lane", "generate", "weigh", "windows"]

GENERATOR = Path(__file__).with_name("generator.py")
SETTLES_WITHIN = (
    5.0  # seconds in which the processes of a window are to have ended before the next one begins
)
ANSWERS_WITHIN = 5.0  # seconds for the one connection that is looked at


class Ended(Exception):
    """The load generator did not end as it should; the text says how."""


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is measured: its name in the record, and where it runs."""

    name: str
    running: Running


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How it is measured: with which numbers of clients, in how many rounds, for how many seconds after how many of warm-up."""

    clients: tuple[int, ...]
    rounds: int
    seconds: float
    warm_up: float

    def order(self, lanes: Sequence[Lane]) -> Iterator[tuple[int, int, Lane]]:
        """Round, clients and lane of each window. Each round begins with another lane, so that no place is always the same one's."""
        for round_ in range(self.rounds):
            for clients in self.clients:
                first = round_ % len(lanes)
                for lane in (*lanes[first:], *lanes[:first]):
                    yield round_, clients, lane


#: Has a load of so many clients done on a server, and tells of it as the program `generator` does.
Generate = Callable[[Running, int, Course], dict[str, Any]]


def windows(
    course: Course, lanes: Sequence[Lane], told: Callable[[], None], load: Generate | None = None
) -> Iterator[Window]:
    """Measure; what is told after each window is that it is over.

    Args:
        course: see there.
        lanes: the servers.
        told: called then.
        load: who opens the connections, if not our own load generator.

    Raises:
        Ended: see there.
    """
    for round_, clients, lane in course.order(lanes):
        yield window(course, lane, clients, round_, load)
        told()


def window(course: Course, lane: Lane, clients: int, round_: int, load: Generate | None = None) -> Window:
    """One of them; the server is left as it was before, if it ends its processes at all."""
    meter = metered(lane.running)
    try:
        said = (load or generate)(lane.running, clients, course)
        cost = meter.read() if meter else None
    finally:
        if meter:
            meter.close()
    wait_for(lane.running.settled, Deadline(SETTLES_WITHIN))
    latencies, every = said["latencies"], said["all"]
    return Window(
        target=lane.name,
        clients=clients,
        round=round_,
        connections=said["connections"],
        seconds=said["seconds"],
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
        worst=quantile(latencies, 1.0),
        errors=said["errors"],
        busy=round(said["busy"], 4),
        **each(cost, every),
    )


def each(cost: Cost | None, connections: int) -> dict[str, Any]:
    """What one of so many connections cost."""
    if cost is None or not connections:
        return {}
    return {
        "faults": round(cost.faults / connections, 2),
        "seconds_each": round(cost.seconds / connections, 7),
    }


def quantile(ordered: Sequence[int], part: float) -> int | None:
    """The smallest value that so large a part of them does not exceed; of none there is none."""
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)] if ordered else None


def metered(running: Running) -> Meter | None:
    """A meter of all that the server is and will fork; None where there may be none, see `weigh`."""
    processes: set[Process] = set(running.baseline)
    try:
        return Meter(processes) if processes else None
    except OSError:
        return None


def generate(running: Running, clients: int, course: Course) -> dict[str, Any]:
    """Have the load generator do its work, in a process that ends with us."""
    host, number = running.address
    prefix = Reply(running.manifest.reply).pattern.decode("latin-1")
    words = [str(clients), str(course.warm_up), str(course.seconds), prefix]
    argv = [sys.executable, "-I", "-S", str(GENERATOR), host, str(number), *words]
    patience = course.warm_up + course.seconds + DRAIN + 2 * MARGIN
    try:
        done = subprocess.run(argv, capture_output=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        raise Ended(f"the load generator has not ended after {patience:g} s") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Ended(f"the load generator ended with {done.returncode}: {last}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def weigh(lane: Lane) -> Memory:
    """The private memory of the server, and of whoever serves a connection on which an echo has been exchanged."""
    running = lane.running
    owner, observer = running.owner, running.observer
    if owner is None or observer is None:
        return Memory(target=lane.name, server=None, child=None)
    child = None
    try:
        channel = wire.connect(running.address, Deadline(ANSWERS_WITHIN))
    except CannotConnect:
        return Memory(target=lane.name, server=observer.private(owner), child=None)
    with channel:
        one = Connection("a", channel, Reply(running.manifest.reply), Transcript(), "non-blocking")
        converse([one], {"a": [PAYLOAD]}, ANSWERS_WITHIN, lambda connection: connection.whole)
        end = observer.endpoint(one.remote, one.local)
        if end and end.key:
            serving = running.holders([end.key])[end.key] - running.baseline
            # Of a chain of processes (a shell and its program) all are for this connection.
            child = sum(observer.private(process) or 0 for process in serving) or None
        server = observer.private(owner)
    wait_for(running.settled, Deadline(SETTLES_WITHIN))
    return Memory(target=lane.name, server=server, child=child)
