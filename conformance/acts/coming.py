"""What must come on the wire: one function for each thing that `expect` can name."""

from __future__ import annotations

import errno
from collections.abc import Callable

from forkecho.conformance import wire
from forkecho.conformance.acts import newcomers
from forkecho.conformance.acts.doing import demand_whole
from forkecho.conformance.acts.staying import stays
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.observe import Endpoint
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Expect
from forkecho.conformance.verdict import Unmet

__all__ = ["EXPECT", "expect", "expect_echo", "expect_queued", "expect_unread"]

#: The states of our end after the server's FIN alone, by whether we had sent ours.
CLEAN = {
    False: frozenset({"CLOSE_WAIT"}),
    True: frozenset({"CLOSE_WAIT", "TIME_WAIT", "LAST_ACK", "CLOSING", "CLOSE"}),
}

#: Where the server's end can only be once a process has accepted the connection and closed it (RFC 9293 3.3.2).
CLOSED = ("FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "TIME_WAIT")


def expect(stage: Stage, step: Expect) -> None:
    """See `step.Expect`."""
    EXPECT[step.expect](stage, step)


def expect_echo(stage: Stage, step: Expect) -> None:
    """Everything that was sent comes back."""
    connections = stage.all(step.on)
    stage.listen(connections, lambda one: one.whole, step.within)
    demand_whole(connections)


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
    stage.listen(connections, lambda one: one.over, step.within)
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
    running = stage.running
    patience = stage.patience(step.within or 2.0)
    # Connecting again and again would fill the backlog of a server that no longer accepts.
    if running.observer:
        running.wait_for(lambda: not running.listeners(), Deadline(patience))
    seen = "it was connected"
    try:
        channel = wire.connect(running.address, Deadline(stage.patience(1.0)))
    except wire.CannotConnect as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):  # the latter of a path that was taken away
            return
        seen = str(error.strerror)
    else:
        channel.close()
    if running.observer and (holders := stage.listening()):
        seen += f"; {stage.describe(holders)} still holds the listening socket"
    raise Unmet(f"a connect to {running.listens_on} to be refused within {patience:g} s", seen)


def expect_accepted(stage: Stage, step: Expect) -> None:
    """A process holds the server's end, or has closed it: the kernel gives a socket an inode when it is accepted.

    Where processes are looked at later, the owner is given a moment to hand the connection on, so that it is not frozen or
    ended between accept and fork. A server that does not fork is only waited for; it is judged elsewhere.
    """
    connections = stage.all(step.on)
    for one in connections:

        def look(one: wire.Connection = one) -> str:
            if seen := stage.endpoint(one):
                return "" if _accepted(seen) else "nobody has accepted it"
            # Over already; somebody had it if something came of it, an end in order being something.
            while not one.over and one.read():
                pass
            answered = one.echoed or one.ending == "end of stream"
            return "" if answered else "the server's end of it has gone"

        stage.require(f"connection {one.name} to be accepted", look, step.within)
    if stage.case.observes:
        stage.await_handover([one.name for one in connections])


def _accepted(seen: Endpoint) -> bool:
    """A process has the server's end, or had it."""
    return bool(seen.key) or seen.state in CLOSED


def expect_queued(stage: Stage, step: Expect) -> None:
    """Nobody accepts it."""
    connections = stage.all(step.on)

    def look() -> str:
        for one in connections:
            seen = stage.endpoint(one)
            if seen and _accepted(seen):
                return f"connection {one.name} was accepted by {stage.describe(stage.holders(one))}"
        return ""

    stays(stage, step, look, "nobody to accept it")


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
    stays(stage, step, look, "what was sent to stay unread")


def expect_nothing(stage: Stage, step: Expect) -> None:
    """No byte comes, and no end."""
    connections = stage.all(step.on)

    def look() -> str:
        for one in connections:
            echoed = one.echoed
            if one.read() or one.echoed != echoed:
                return f"something came on {one.name}: {one.fault[1] if one.fault else one}"
        return ""

    stays(stage, step, look, "nothing to come")


EXPECT: dict[str, Callable[[Stage, Expect], None]] = {
    "echo": expect_echo,
    "prefix": expect_prefix,
    "end": expect_end,
    "reset": expect_reset,
    "closed": expect_closed,
    "refused": expect_refused,
    "served-or-refused": newcomers.served_or_refused,
    "room": newcomers.room,
    "accepted": expect_accepted,
    "queued": expect_queued,
    "established": expect_established,
    "unread": expect_unread,
    "unserved": newcomers.unserved,
    "nothing": expect_nothing,
}
