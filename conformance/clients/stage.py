"""What the steps of a client's case share, and how each is done."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from typing import Any

from forkecho.conformance.case import Case
from forkecho.conformance.clients.peer import Door, Peer
from forkecho.conformance.clients.running import LOOPBACK, Client, start
from forkecho.conformance.clients.step import (
    Answer,
    Demand,
    Finish,
    Flood,
    Pause,
    Relay,
    Run,
    Take,
)
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.plan import Plan
from forkecho.conformance.step import Step
from forkecho.conformance.target import Builds
from forkecho.conformance.verdict import Unmet
from forkecho.conformance.wire import Transcript, difference, show

__all__ = ["DEMANDS", "DO", "ClientStage"]

PATIENCE = 5.0  # seconds in which something must move; passing cases never wait for it
ENDS_WITHIN = 20.0  # seconds to end once nothing more can come
READS_WITHIN = 2.0  # seconds for the client to read a piece before the next is sent
LINES_MAX = 3  # of a complaint; what is longer is a stack trace, or not for people
REPEATED = 1 << 16  # bytes of a flood that are sent at a time
SHOWN = 200  # characters of standard error that are shown


class ClientStage:
    """One case: the server that the suite plays, and the client that talks to it.

    Args:
        case: what is being played.
        plan: of the run; names the client.
        builds: what the client is built from.
        scale: what deadlines are multiplied with.
    """

    def __init__(self, case: Case, plan: Plan, builds: Builds, scale: float) -> None:
        self.case = case
        self.manifest = plan.target.manifest
        self.scale = scale
        self.transcript = Transcript()
        self.evidence: list[dict[str, Any]] = []
        self.message = b""
        self.prefix = b""
        self.numbers: dict[str, bytes] = {}
        self._plan = plan
        self._builds = builds
        self._chance = random.Random(f"{plan.seed} {case.id}")
        self._door: Door | None = None
        self._peer: Peer | None = None
        self._client: Client | None = None

    # The client

    def run(self, step: Run) -> None:
        """See `step.Run`."""
        self.clear()
        # An argument cannot hold a NUL.
        self.message = step.run.make(self._chance, least=0 if self.manifest.stdin else 1)
        self.numbers = {"pid": b"%d" % step.pid, "ppid": b"%d" % step.ppid}
        self.prefix = self.fill(self.manifest.reply.removesuffix("{data}"), b"")
        self._door = Door(LOOPBACK, listens=not step.refused, small=step.small)
        self._client = start(
            self._plan.target, self._builds, self._door.number, self.message, python=self._plan.python
        )
        self.tell("started")

    def fill(self, form: str, data: bytes) -> bytes:
        """A form with its numbers and the data in it."""
        parts = re.split(r"(\{(?:p?pid|data)\})", form)
        values = {**self.numbers, "data": data}
        return b"".join(
            values[part[1:-1]] if part[1:-1] in values and part.startswith("{") else part.encode()
            for part in parts
        )

    def tell(self, event: str) -> None:
        """Note what became of the client."""
        client = self.client
        self.evidence.append(
            {
                "t": self.transcript.now,
                "on": "client",
                "event": event,
                "pid": client.pid,
                "ppid": client.guard.pid,
                "command": " ".join(self.manifest.command),
            }
        )

    @property
    def client(self) -> Client:
        """The client that was started last."""
        assert self._client, "no step has started the client"
        return self._client

    @property
    def peer(self) -> Peer:
        """The client's connection.

        Raises:
            Unmet: there is none by the deadline.
        """
        if self._peer is None:
            assert self._door, "no step has started the client"
            patience = self.start_within
            self._peer = self._door.accept(Deadline(patience), lambda: self.client.ended, self.transcript)
            if self._peer is None:
                raise Unmet(f"a connection from the client within {patience:g} s", self.state())
        return self._peer

    def state(self) -> str:
        """What has become of the client, with the end of what it said on standard error."""
        how = f"it has {self.client.ending}" if self.client.ended else "it runs"
        if self.client.ending.startswith("killed"):
            how = f"it was {self.client.ending}"
        said = " ".join(self.client.output("stderr").decode(errors="replace").split())
        return (
            f"{how}, with {said[-SHOWN:]!r} on standard error"
            if said
            else f"{how}, with no word of complaint"
        )

    @property
    def start_within(self) -> float:
        """Seconds in which the client must connect: haste is for what it never does, and to start is not of that kind."""
        return self.manifest.ready_within * max(1.0, self.scale)

    def await_end(self, seconds: float) -> None:
        """The client must end.

        Raises:
            Unmet: it runs at the deadline.
        """
        # One that was never heard of may still be on its way.
        patience = seconds * self.scale + (0.0 if self._peer else self.start_within)
        if not self.client.await_end(Deadline(patience)):
            raise Unmet(f"the client to end within {patience:g} s", self.state())
        if self.evidence[-1]["event"] == "started":
            self.tell(self.client.ending)

    def clear(self) -> None:
        """End the client and forget it; the next one starts anew."""
        peer, client, door = self._peer, self._client, self._door
        try:
            if client and self.evidence and self.evidence[-1]["event"] == "started":
                self.tell(client.ending if client.ended else "alive")
        finally:
            self._peer = self._client = self._door = None
            self._stop(peer, client, door)

    def _stop(self, peer: Peer | None, client: Client | None, door: Door | None) -> None:
        try:
            if client:
                client.stop()
        finally:
            if peer:
                peer.close()
            if door:
                door.close()

    # The server

    def take(self, step: Take) -> None:
        """See `step.Take`."""
        peer, message, patience = self.peer, self.message, PATIENCE * self.scale
        if step.take == "message":
            peer.read_until(lambda: len(peer.received) >= len(message), patience)
            if bytes(peer.received[: len(message)]) != message:
                self.object_to(bytes(peer.received[: len(message)]))
            return
        peer.read_until(lambda: bool(peer.ending), patience)
        if not peer.ending:
            raise Unmet(
                f"the client to end its direction, or the connection, within {patience:g} s",
                f"{count(len(peer.received))}, then silence; {self.state()}",
            )
        if step.take == "nothing-more" and bytes(peer.received) != message:
            self.object_to(bytes(peer.received))

    def object_to(self, came: bytes) -> None:
        """What came is not the message.

        Raises:
            Unmet: always.
        """
        peer = self.peer
        then = f"then {'the ' if peer.ending.startswith('end') else ''}{peer.ending or 'silence'}"
        if self.message.startswith(came):
            raise Unmet(
                f"the message, {count(len(self.message))}", f"{count(len(came))}, {then}; {self.state()}"
            )
        if came.startswith(self.message):
            raise Unmet(
                f"nothing after the message, {count(len(self.message))}",
                f"{show(came[len(self.message) :])}, {then}",
            )
        expected, seen = difference(self.message, came, 0)
        raise Unmet(expected.replace("of the echo", "of the message"), seen)

    def answer(self, step: Answer) -> None:
        """See `step.Answer`."""
        whole, data = self.prefix + self.message, self.message
        middle = len(data) // 2
        octets = {
            "echo": whole,
            "prefix": self.prefix,
            "half": self.prefix + data[:middle],
            "altered": self.prefix + data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "swapped": self.prefix + data[middle:] + data[:middle],
            "shortened": whole[:-1],
        }[step.answer]
        for piece in cut(octets, step.pieces, len(self.prefix)):
            if self.peer.send(piece, PATIENCE * self.scale) < len(piece):
                return  # it has closed, or will have no more: what it makes of that is judged by what follows
            if step.pieces != "whole":
                self.peer.await_read(self.client.observer, READS_WITHIN * self.scale)

    def relay(self, step: Relay) -> None:
        """See `step.Relay`."""
        peer, size, patience = self.peer, len(self.message), PATIENCE * self.scale
        if peer.send(self.prefix, patience) < len(self.prefix):
            raise Unmet("the client to read the reply", self.state())
        done = 0
        while done < size:
            peer.read_until(lambda done=done: len(peer.received) > done, patience, step.relay)  # type: ignore[misc]
            came = bytes(peer.received[:size])
            chunk = came[done:]
            if not chunk or not self.message.startswith(came):
                self.object_to(came)
            sent = peer.send(chunk, patience)
            done += len(chunk)
            if sent < len(chunk) or not peer.await_read(self.client.observer, patience):
                raise Unmet(
                    f"the client to read while it writes, within {patience:g} s",
                    f"it has written {len(peer.received)} of {size} bytes, and does not read their echo;"
                    f" {self.state()}",
                )

    def flood(self, step: Flood) -> None:
        """See `step.Flood`."""
        block = (self.message or b"x") * (REPEATED // max(1, len(self.message)) + 1)
        sent, patience = 0, PATIENCE * self.scale
        while sent < step.flood:
            taken = self.peer.send(block, patience)
            sent += taken
            if taken < len(block):
                return
        raise Unmet(
            f"the client to end before it has taken {step.flood} bytes in reply to {len(self.message)}",
            f"it has taken {sent}; {self.state()}",
        )

    def finish(self, step: Finish) -> None:
        """See `step.Finish`."""
        if step.finish == "end":
            self.peer.end()
        else:
            self.peer.reset()

    def pause(self, step: Pause) -> None:
        """See `step.Pause`."""
        seconds = step.pause * self.manifest.idle_timeout
        if wait_for(lambda: self.client.ended, Deadline(seconds)):
            raise Unmet(
                f"the client to wait for the declared {self.manifest.idle_timeout:g} s",
                f"after {seconds:g} s {self.state()}",
            )

    # What must be so in the end

    def demand(self, step: Demand) -> None:
        """See `step.Demand`."""
        if step.expect == "given-up":
            self.await_end(self.manifest.idle_timeout + ENDS_WITHIN)
        else:
            self.await_end(step.within or ENDS_WITHIN)
        DEMANDS[step.expect](self)

    def printed(self) -> None:
        """The data of the reply stands on standard output, in the declared form and with a line end at the most."""
        wanted = self.fill(self.manifest.prints, self.message)
        came = self.client.output("stdout")
        if came in (wanted, wanted + b"\n"):
            return
        if not came or len(wanted) < 200:
            raise Unmet(f"{show(wanted, 200)} on standard output", f"{show(came, 200)}; {self.state()}")
        expected, seen = difference(wanted, came, 0)
        raise Unmet(expected.replace("of the echo", "of standard output"), seen)

    def success(self) -> None:
        """Its exit status is 0."""
        if self.client.code != 0:
            raise Unmet("exit status 0, since the reply was whole", self.state())

    def error(self) -> None:
        """Its exit status is not 0, and it was not killed by a signal."""
        if (self.client.code or 0) <= 0:
            raise Unmet("an exit status that is not 0", self.state())

    def explained(self) -> None:
        """It says on standard error what went wrong, in a line or two, and not where in its source."""
        text = self.client.output("stderr").decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise Unmet("a line on standard error that says what went wrong", self.state())
        if len(lines) > LINES_MAX or "Traceback" in text:
            raise Unmet(
                "a line on standard error that says what went wrong",
                f"{len(lines)} lines, the first {lines[0]!r}, the last {lines[-1][-SHOWN:]!r}",
            )

    def nobody_left(self) -> None:
        """No process of it is left."""
        wait_for(lambda: not self.client.left(), Deadline(PATIENCE * self.scale))
        if left := self.client.left():
            told = ", ".join(f"{facts.process.pid} ({facts.command})" for facts in left)
            raise Unmet("no process of the client after its end", f"{told} lives")


def count(size: int) -> str:
    """So many bytes."""
    return f"{size} byte{'' if size == 1 else 's'}"


def cut(octets: bytes, pieces: str, prefix: int) -> list[bytes]:
    """What is sent in one go; none of the pieces is empty.

    Args:
        octets: the whole.
        pieces: see `step.Answer`.
        prefix: how many bytes of it are the prefix.
    """
    ends = {
        "whole": [],
        "prefix": [prefix],
        "halves": [len(octets) // 2],
        "bytes": list(range(1, len(octets))),
        "numbers": [
            at for one in re.finditer(rb"[0-9]+", octets[:prefix]) for at in (one.start() + 1, one.end())
        ],
    }[pieces]
    places = [0, *ends, len(octets)]
    return [octets[start:end] for start, end in itertools.pairwise(places) if start < end]


#: What is done for each verb.
DO: dict[type[Step], Callable[[ClientStage, Any], None]] = {
    Run: ClientStage.run,
    Take: ClientStage.take,
    Answer: ClientStage.answer,
    Relay: ClientStage.relay,
    Flood: ClientStage.flood,
    Finish: ClientStage.finish,
    Pause: ClientStage.pause,
    Demand: ClientStage.demand,
}

#: How each demand is judged, once the client has ended.
DEMANDS: dict[str, Callable[[ClientStage], None]] = {
    "end": lambda stage: None,
    "printed": ClientStage.printed,
    "success": ClientStage.success,
    "error": ClientStage.error,
    "given-up": ClientStage.error,
    "explained": ClientStage.explained,
    "nobody-left": ClientStage.nobody_left,
}
