"""What the steps of a case do on the wire: one function a verb."""

from __future__ import annotations

import errno
import itertools
import socket
import statistics
import time

from forkecho.conformance import wire
from forkecho.conformance.address import family_of, for_socket
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.payload import Payload
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import (
    Bind,
    Close,
    Exchange,
    HalfClose,
    Idle,
    Open,
    Reset,
    Send,
    Stuff,
    Vanish,
)
from forkecho.conformance.styles import STYLES
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = [
    "bind",
    "close",
    "cut",
    "demand_whole",
    "exchange",
    "half_close",
    "idle",
    "open_",
    "reset",
    "send",
    "stuff",
    "vanish",
]

STALLED = 0.15  # seconds without a byte moving anywhere: a connection that is stuffed has stalled
BUSY_AT_MOST = 5.0  # seconds in which a target that wants to run is believed to move bytes soon; one that spins never stops


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
    before = stage.running.missed() if step.fast else 0.0
    for _ in range(step.times):
        started = time.monotonic()
        _exchange_once(stage, step)
        durations.append(time.monotonic() - started)
    # What holds back message after message shows in the quickest of them as well; a loaded machine does not.
    later = sorted(durations[len(durations) // 2 :])
    quartile = later[len(later) // 4]
    if step.unstalled and quartile > step.unstalled * stage.scale:
        raise Unmet(
            f"a quarter of the later messages back within {step.unstalled * 1000:g} ms",
            f"{quartile * 1000:.1f} ms, and {later[0] * 1000:.1f} ms at the least, over {len(later)} messages",
        )
    bound, median = step.fast * stage.scale, statistics.median(durations)
    # That a loaded machine has not let the server run is not the server's fault.
    if step.fast and median > bound and median - (stage.running.missed() - before) / step.times > bound:
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
    wanted = {one.name: len(one.sent) + sum(map(len, outgoing[one.name])) for one in connections}
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
    demand_whole(connections, wanted)


def demand_whole(connections: list[wire.Connection], wanted: dict[str, int] | None = None) -> None:
    """Every byte has come back, and nothing else.

    Args:
        wanted: by connection, how many bytes were to be sent on it so far; a server that ends it before has taken fewer.
    """
    for one in connections:
        if one.fault:
            raise Unmet(one.fault[0], f"{one.fault[1]}{_on(one, connections)}")
        if one.sent and not one.whole:
            raise Unmet(f"all {len(one.sent)} bytes back", f"{one}{_on(one, connections)}")
        if wanted and (not one.whole or len(one.sent) < wanted[one.name]):
            raise Unmet(f"{wanted[one.name]} bytes to be taken and echoed", f"{one}{_on(one, connections)}")


def _on(one: wire.Connection, among: list[wire.Connection]) -> str:
    return f" (connection {one.name} of {len(among)})" if len(among) > 1 else ""


def stuff(stage: Stage, step: Stuff) -> None:
    """See `step.Stuff`; all connections at once, bounded in bytes, since a server that discards never stalls us."""
    block = memoryview(stage.payload(Payload(counter=1 << 20)))
    connections = stage.all(step.stuff)
    offsets = dict.fromkeys((one.name for one in connections), 0)
    last: tuple[float, list[tuple[int, int, int, int]]] = (time.monotonic(), [])
    busy = Deadline(stage.patience(BUSY_AT_MOST))

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
            moved.append((len(one.sent), one.unsent, seen.unread if seen else 0, seen.unsent if seen else 0))
        if moved != last[1]:
            last = (time.monotonic(), moved)
        full = all(one.over or len(one.sent) >= step.at_most for one in connections)
        if full or time.monotonic() - last[0] <= STALLED * stage.scale:
            return full
        # On a loaded machine nothing may move for a while because nobody was let run, or because a fork waits for the
        # kernel (D): that is no stall.
        if not busy.passed and stage.running.busy():
            last = (time.monotonic(), moved)
            return False
        return True

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
    running = stage.running
    with socket.socket(family_of(running.address), socket.SOCK_STREAM) as successor:
        successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            successor.bind(for_socket(running.address))
            successor.listen()
        except OSError as error:
            held = running.listeners()
            why = (
                f"still listened on by {stage.describe(stage.listening())}"
                if held
                else "nobody listens on it"
            )
            name = errno.errorcode.get(error.errno or 0, str(error))
            raise Unmet(
                f"{running.listens_on} to be free for a successor at once", f"{name}, {why}"
            ) from None


def idle(stage: Stage, step: Idle) -> None:
    """See `step.Idle`."""
    time.sleep(step.idle)  # the one legal wait: time is what is tested
