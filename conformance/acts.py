"""What the steps of a case do and demand on the wire: one function a verb."""

from __future__ import annotations

import errno
import itertools
import socket
import statistics
import time
from collections.abc import Callable

from forkecho.conformance import wire
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import (
    Bind,
    Close,
    Exchange,
    Expect,
    HalfClose,
    Idle,
    Open,
    Payload,
    Reset,
    Send,
    Stuff,
    Vanish,
)
from forkecho.conformance.styles import STYLES
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = [
    "EXPECT",
    "bind",
    "close",
    "exchange",
    "expect",
    "half_close",
    "idle",
    "open_",
    "reset",
    "send",
    "stuff",
    "vanish",
]

#: The states of our end after the server's FIN alone, by whether we had sent ours.
CLEAN = {
    False: frozenset({"CLOSE_WAIT"}),
    True: frozenset({"CLOSE_WAIT", "TIME_WAIT", "LAST_ACK", "CLOSING", "CLOSE"}),
}
STALLED = 0.15  # seconds without a byte moving anywhere: a connection that is stuffed has stalled


def open_(stage: Stage, step: Open) -> None:
    """See `step.Open`."""
    stage.open(step)


def cut(data: bytes, pieces: int | list[int]) -> list[bytes]:
    """`data` in pieces: of at most so many bytes, or the first ones of the given sizes."""
    if isinstance(pieces, int):
        size = pieces or max(len(data), 1)
        return [data[start : start + size] for start in range(0, len(data), size)]
    ends = [sum(pieces[:count]) for count in range(len(pieces) + 1)]
    parts = [data[start:end] for start, end in itertools.pairwise(ends)]
    return [part for part in (*parts, data[ends[-1] :]) if part]


def send(stage: Stage, step: Send) -> None:
    """See `step.Send`."""
    for one in stage.all(step.on):
        data = stage.payload(step.send)
        if step.urgent:
            _send_urgent(stage, one, data)
            continue
        for piece in cut(data, step.pieces):
            _write(stage, one, piece)
            if isinstance(step.pieces, list):
                _await_taken(stage, one)


def _write(stage: Stage, one: wire.Connection, data: bytes) -> None:
    """Write all of it; what a server that does not read keeps us from writing is not sent."""
    left = memoryview(data)

    def look() -> bool:
        nonlocal left
        left = left[one.write(left) :]
        return not left or one.over

    if not wait_for(look, Deadline(stage.patience())):
        raise Unmet(f"connection {one.name} to take {len(data)} bytes", f"it took {len(data) - len(left)}")


def _send_urgent(stage: Stage, one: wire.Connection, data: bytes) -> None:
    """All but the last byte as usual, and once they are taken, the last as urgent data (tcp(7), MSG_OOB)."""
    if data[:-1]:
        _write(stage, one, data[:-1])
        _await_taken(stage, one)
    one.write(data[-1:], socket.MSG_OOB)


def _await_taken(stage: Stage, one: wire.Connection) -> None:
    """Wait until the server has read what was sent, so that the next piece comes to it by itself.

    Not a requirement: a server that has not is judged by what it echoes. Unseen, where the server is elsewhere.
    """
    if stage.running.observer is None:
        return

    def taken() -> bool:
        seen = stage.endpoint(one)
        return seen is None or (seen.unread == 0 and one.unsent == 0)

    wait_for(taken, Deadline(stage.patience(1.0)))


def exchange(stage: Stage, step: Exchange) -> None:
    """See `step.Exchange`."""
    durations = []
    for _ in range(step.times):
        started = time.monotonic()
        _exchange_once(stage, step)
        durations.append(time.monotonic() - started)
    if step.fast and (median := statistics.median(durations)) > step.fast * stage.scale:
        raise Unmet(
            f"a median of at most {step.fast * 1000:g} ms",
            f"{median * 1000:.1f} ms over {step.times} exchanges",
        )


def _exchange_once(stage: Stage, step: Exchange) -> None:
    connections = stage.all(step.on)
    for one in connections:
        if one.over:
            raise Unmet(f"connection {one.name} to be open", str(one))
    outgoing = {one.name: cut(stage.payload(step.exchange), step.pieces) for one in connections}
    if isinstance(step.pieces, list):
        for one in connections:
            for piece in outgoing[one.name][:-1]:
                _write(stage, one, piece)
                _await_taken(stage, one)
            outgoing[one.name] = outgoing[one.name][-1:]
    for style, play in STYLES.items():
        if chosen := [one for one in connections if one.style == style]:
            play(chosen, outgoing, stage.patience())
    wire.converse(
        [one for one in connections if one.style not in STYLES],
        outgoing,
        stage.patience(),
        lambda one: one.whole,
    )
    _demand_whole(connections, outgoing)


def _demand_whole(connections: list[wire.Connection], outgoing: dict[str, list[bytes]] | None = None) -> None:
    """Every byte has come back, and nothing else."""
    for one in connections:
        total = sum(map(len, outgoing[one.name])) if outgoing else 0
        if one.fault:
            raise Unmet(one.fault[0], f"{one.fault[1]}{_on(one, connections)}")
        if not one.whole or (total and not one.sent):
            wanted = (
                f"all {len(one.sent)} bytes back" if one.sent else f"{total} bytes to be taken and echoed"
            )
            raise Unmet(wanted, f"{one}{_on(one, connections)}")


def _on(one: wire.Connection, among: list[wire.Connection]) -> str:
    return f" (connection {one.name} of {len(among)})" if len(among) > 1 else ""


def stuff(stage: Stage, step: Stuff) -> None:
    """See `step.Stuff`; all connections at once, bounded in bytes, since a server that discards never stalls us."""
    block = memoryview(stage.payload(Payload(counter=1 << 20)))
    connections = stage.all(step.stuff)
    offsets = dict.fromkeys((one.name for one in connections), 0)
    last: tuple[float, list[tuple[int, int, int]]] = (time.monotonic(), [])

    def push(one: wire.Connection) -> None:
        while len(one.sent) < step.at_most and not one.over:
            start = offsets[one.name]
            count = one.write(block[start : start + min(65536, step.at_most - len(one.sent))])
            if not count:
                return
            offsets[one.name] = (start + count) % (len(block) - 65536)

    def look() -> bool:
        nonlocal last
        moved = []
        for one in connections:
            push(one)
            seen = stage.endpoint(one) if stage.running.observer else None
            moved.append((len(one.sent), one.unsent, seen.unread if seen else 0))
        if moved != last[1]:
            last = (time.monotonic(), moved)
        full = all(one.over or len(one.sent) >= step.at_most for one in connections)
        return full or time.monotonic() - last[0] > STALLED * stage.scale

    wait_for(look, Deadline(stage.patience() * 4))
    for one in connections:
        stage.transcript.note(one.name, f"stalled after {len(one.sent)} bytes")


def half_close(stage: Stage, step: HalfClose) -> None:
    """See `step.HalfClose`."""
    for one in stage.all(step.half_close, step.on):
        one.half_close()


def close(stage: Stage, step: Close) -> None:
    """See `step.Close`."""
    for one in stage.all(step.close, step.on):
        one.close()


def reset(stage: Stage, step: Reset) -> None:
    """See `step.Reset`."""
    for one in stage.all(step.reset, step.on):
        one.reset()


def vanish(stage: Stage, step: Vanish) -> None:
    """See `step.Vanish`."""
    for one in stage.all(step.vanish, step.on):
        try:
            one.vanish()
        except PermissionError:
            raise Unobservable("to vanish without FIN or RST takes CAP_NET_ADMIN (TCP_REPAIR)") from None


def bind(stage: Stage, step: Bind) -> None:
    """See `step.Bind`."""
    host, port = stage.running.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as successor:
        successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            successor.bind((host, port))
            successor.listen()
        except OSError as error:
            held = stage.running.observer and stage.running.observer.listeners(port)
            why = (
                f"still listened on by {stage.describe(stage.listening())}"
                if held
                else "nobody listens on it"
            )
            name = errno.errorcode.get(error.errno or 0, str(error))
            raise Unmet(f"port {port} to be free for a successor at once", f"{name}, {why}") from None


def idle(stage: Stage, step: Idle) -> None:
    """See `step.Idle`."""
    time.sleep(step.idle)  # the one legal wait: time is what is tested


def expect(stage: Stage, step: Expect) -> None:
    """See `step.Expect`."""
    EXPECT[step.expect](stage, step)


def expect_echo(stage: Stage, step: Expect) -> None:
    """Everything that was sent comes back."""
    connections = stage.all(step.on)
    wire.converse(connections, {}, stage.patience(step.within), lambda one: one.whole)
    _demand_whole(connections)


def expect_prefix(stage: Stage, step: Expect) -> None:
    """The prefix is written as declared: decimal numbers without leading zeros, the separators, nothing more."""
    form = stage.running.manifest.reply
    for one in stage.all(step.on):
        if one.claim is None:
            raise Unmet(f"a reply of the form {form}", str(one))
        numbers = {"{pid}": one.claim.pid, "{ppid}": one.claim.ppid, "{data}": ""}
        wanted = form
        for token, value in numbers.items():
            wanted = wanted.replace(token, str(value))
        if one.claim.octets != wanted.encode() or 0 in (one.claim.pid, one.claim.ppid):
            raise Unmet(f"the prefix {wanted.encode()!r}", repr(one.claim.octets))


def _read_to_the_end(stage: Stage, step: Expect) -> list[wire.Connection]:
    connections = stage.all(step.on)
    wire.converse(connections, {}, stage.patience(step.within), lambda one: one.over)
    for one in connections:
        if one.fault:
            raise Unmet(*one.fault)
        if not one.ending:
            raise Unmet(f"connection {one.name} to end", str(one))
    return connections


def expect_end(stage: Stage, step: Expect) -> None:
    """A clean end: all bytes, the end of the stream, and no reset in its wake (RFC 9293 3.6.1)."""
    manifest = stage.running.manifest
    for one in _read_to_the_end(stage, step):
        if one.unasked:
            raise Unmet("nothing, since nothing was sent", wire.show(one.unasked))
        # Of a message that is too long a one-shot server owes no more than its one read; the end is owed in any case.
        cut_short = manifest.one_shot and len(one.sent) > manifest.message_max and one.echoed > 0
        if one.ending != "end of stream" or not (one.whole or cut_short):
            wanted = "an echo" if manifest.one_shot else f"all {len(one.sent)} bytes"
            raise Unmet(f"{wanted}, then an orderly end (FIN)", str(one))
        if stage.running.observer:
            # A reset that follows the FIN is sent while the server closes: look when nobody holds its end any more.
            wait_for(lambda one=one: _done_with(stage, one), Deadline(stage.patience(1.0)))  # type: ignore[misc]
        state, error = one.state, one.pending_error()
        if error or state not in CLEAN[one.half_closed]:
            raise Unmet("an orderly end (FIN alone)", f"a FIN, then a reset ({error or state})")


def _done_with(stage: Stage, one: wire.Connection) -> bool:
    """Nobody holds the server's end any more; or it lingers, and has read all there is, so that closing sends no reset."""
    seen = stage.endpoint(one)
    return (
        seen is None or not seen.key or (seen.state == "FIN_WAIT2" and seen.unread == 0 and one.unsent == 0)
    )


def expect_reset(stage: Stage, step: Expect) -> None:
    """The connection ends by a reset."""
    for one in _read_to_the_end(stage, step):
        if one.ending != "reset":
            raise Unmet(f"connection {one.name} to be reset", str(one))


def expect_closed(stage: Stage, step: Expect) -> None:
    """The connection ends, in whatever way."""
    _read_to_the_end(stage, step)


def expect_refused(stage: Stage, step: Expect) -> None:
    """A new connection is refused, at the latest once the kernel has had `within` seconds to drop the listener."""
    address, observer = stage.running.address, stage.running.observer
    patience = stage.patience(step.within or 2.0)
    if observer:  # connecting again and again would fill the backlog of a server that no longer accepts
        wait_for(lambda: not observer.listeners(address[1]), Deadline(patience))
    seen = "it was connected"
    try:
        channel = wire.connect(address, Deadline(stage.patience(1.0)))
    except wire.CannotConnect as error:
        if error.errno == errno.ECONNREFUSED:
            return
        seen = str(error.strerror)
    else:
        channel.close()
    if observer and (holders := stage.listening()):
        seen += f"; {stage.describe(holders)} still holds the listening socket"
    raise Unmet(f"a connect to port {address[1]} to be refused within {patience:g} s", seen)


def expect_accepted(stage: Stage, step: Expect) -> None:
    """A process holds the server's end: the kernel gives a socket an inode when it is accepted.

    Where processes are looked at later, the owner is given a moment to hand the connection on, so that it is not frozen or
    ended between accept and fork. A server that does not fork is only waited for; it is judged elsewhere.
    """
    connections = stage.all(step.on)
    for one in connections:

        def look(one: wire.Connection = one) -> str:
            seen = stage.endpoint(one)
            if seen is None:
                return "the server's end of it has gone"
            return "" if seen.key else "nobody has accepted it"

        stage.require(f"connection {one.name} to be accepted", look, step.within)
    if stage.case.observes:
        stage.await_handover([one.name for one in connections])


def _stays(stage: Stage, step: Expect, look: Callable[[], str], expected: str) -> None:
    """`look` has nothing to object to, all the time."""
    objection = ""

    def broken() -> bool:
        nonlocal objection
        objection = look()
        return bool(objection)

    started = time.monotonic()
    if wait_for(broken, Deadline(step.stays * stage.scale)):
        raise Unmet(
            f"{expected} for {step.stays:g} s", f"{objection} after {time.monotonic() - started:.3f} s"
        )


def expect_queued(stage: Stage, step: Expect) -> None:
    """Nobody accepts it."""
    connections = stage.all(step.on)

    def look() -> str:
        for one in connections:
            seen = stage.endpoint(one)
            if seen and seen.key:
                return f"connection {one.name} was accepted by {stage.describe(stage.holders(one))}"
        return ""

    _stays(stage, step, look, "nobody to accept it")


def expect_established(stage: Stage, step: Expect) -> None:
    """Connects that were begun are done: the server's kernel has room for them."""
    members = stage.members(step.on)
    deadline = Deadline(stage.patience(step.within))
    done = [name for name in members if stage.finish(name, deadline)]
    if len(done) < len(members):
        raise Unmet(
            f"{len(members)} connects at once to be established within {deadline.seconds:g} s",
            f"{len(done)} are",
        )


def expect_unread(stage: Stage, step: Expect) -> None:
    """What was sent stays in the server's receive queue, and nothing comes back."""
    connections = stage.all(step.on)

    def look() -> str:
        for one in connections:
            one.read()
            seen = stage.endpoint(one)
            if one.over or one.whole:
                return str(one)
            waiting = len(one.sent) - one.echoed
            if seen is None or seen.unread < waiting - one.unsent:
                return f"{seen.unread if seen else 'none'} of {waiting} bytes are left in the receive queue"
        return ""

    # The bytes need a moment to get there; then they must stay.
    wait_for(lambda: not look(), Deadline(stage.patience(1.0)))
    _stays(stage, step, look, "what was sent to stay unread")


def expect_nothing(stage: Stage, step: Expect) -> None:
    """No byte comes, and no end."""
    connections = stage.all(step.on)

    def look() -> str:
        for one in connections:
            echoed = one.echoed
            if one.read() or one.echoed != echoed:
                return f"something came on {one.name}: {one.fault[1] if one.fault else one}"
        return ""

    _stays(stage, step, look, "nothing to come")


def expect_served_or_refused(stage: Stage, step: Expect) -> None:
    """A client beyond the limit: served once there is room, or turned away; not kept waiting for ever."""
    for name in stage.members(step.on):
        try:
            one = stage.connection(name)
        except Unmet:
            continue  # its connect was refused
        wire.converse([one], {}, stage.patience(step.within), lambda one: one.whole)
        if one.fault:
            raise Unmet(*one.fault)
        if not one.whole and not one.ending:
            raise Unmet(f"connection {name} to be served once there is room, or turned away", str(one))


def expect_room(stage: Stage, step: Expect) -> None:
    """A new client is served within the bound; one that is turned away tries again, as its user would."""
    for name in stage.members(step.on):

        def look(name: str = name) -> str:
            try:
                stage.open(Open(open=name, queued=True))
                one = stage.connection(name)
                one.write(b"ping")
            except Unmet as error:
                return error.seen
            wire.converse([one], {}, stage.patience(step.within), lambda one: one.whole)
            if one.fault:
                raise Unmet(*one.fault)
            if one.whole and one.sent:
                return ""
            one.close()
            return str(one)

        stage.require(f"a new client, {name}, to be served", look, step.within)


EXPECT: dict[str, Callable[[Stage, Expect], None]] = {
    "echo": expect_echo,
    "prefix": expect_prefix,
    "end": expect_end,
    "reset": expect_reset,
    "closed": expect_closed,
    "refused": expect_refused,
    "served-or-refused": expect_served_or_refused,
    "room": expect_room,
    "accepted": expect_accepted,
    "queued": expect_queued,
    "established": expect_established,
    "unread": expect_unread,
    "nothing": expect_nothing,
}
