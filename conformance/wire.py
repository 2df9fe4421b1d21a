"""Connections to the target: what is sent, what comes back, how it ends. The only module that opens client sockets."""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterable
from typing import Any

from forkecho.conformance import limits
from forkecho.conformance.address import Address, family_of, for_socket, is_unix, ours, theirs
from forkecho.conformance.deadline import Deadline, crowded
from forkecho.conformance.manifest import Claim, Reply
from forkecho.conformance.tcp import TCP_STATES

__all__ = ["OURS", "CannotConnect", "Connection", "Transcript", "connect", "converse", "difference", "show"]

CHUNK = 1 << 18  # bytes a read or a write at the most
EVENTS_MAX = 300  # of a case's transcript; what is dropped is said
TCP_REPAIR = 19  # linux/tcp.h
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
MORE_SOURCES = tuple((f"127.0.0.{number}", 0) for number in range(2, 1 + limits.SOURCES))
#: Errors of a connect that are about what we have, and not about the server.
OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class CannotConnect(OSError):
    """A connection was not made; the text says how that ended."""


class Transcript:
    """What went over the wire, in order, with the time of each event in seconds since the case began."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._dropped = 0
        self.events: list[dict[str, Any]] = []

    @property
    def now(self) -> float:
        """Seconds since the case began."""
        return round(time.monotonic() - self._started, 6)

    def note(self, on: str, event: str, data: bytes | None = None, **details: object) -> None:
        """Add an event; bytes are kept as length, head and tail, and reads that follow each other as one."""
        last = self.events[-1] if self.events else {}
        if (
            data is not None
            and event in ("sent", "received")
            and (last.get("on"), last.get("event")) == (on, event)
        ):
            if len(head := bytes.fromhex(last["head"])) < 16:
                last["head"] = (head + data)[:16].hex()
            last["length"] += len(data)
            last["tail"] = (bytes.fromhex(last["tail"]) + data[-16:])[-16:].hex()
            last["until"] = self.now
            return
        if len(self.events) >= EVENTS_MAX:
            self._dropped += 1
            self.events[-1] = {
                "t": self.now,
                "on": "",
                "event": f"{self._dropped + 1} further events are not shown",
            }
            return
        entry: dict[str, Any] = {"t": self.now, "on": on, "event": event, **details}
        if data is not None:
            entry |= {"length": len(data), "head": data[:16].hex(), "tail": data[-16:].hex()}
        self.events.append(entry)


def show(data: bytes, most: int = 40) -> str:
    """Bytes for people: as a Python literal, cut in the middle where they are many."""
    if len(data) <= most:
        return repr(bytes(data))
    return f"{bytes(data[: most // 2])!r}...{bytes(data[-most // 2 :])!r} ({len(data)} bytes)"


def difference(expected: bytes, seen: bytes, offset: int) -> tuple[str, str]:
    """Expected and seen around the first byte in which two runs of bytes differ; `offset` is where both begin."""
    at = next(
        (index for index, (one, other) in enumerate(zip(expected, seen, strict=False)) if one != other),
        min(len(expected), len(seen)),
    )
    start = max(0, at - 4)
    return (
        f"{show(expected[start : at + 12])} around byte {offset + at} of the echo",
        f"{show(seen[start : at + 12])} there",
    )


class Connection:
    """One connection: everything that was sent on it, and how much of that has come back.

    Args:
        name: what the case calls it.
        channel: a connected socket; it is made non-blocking.
        reply: the form of the target's replies.
        transcript: where events are noted.
        style: how the client is written (see `Open.style`).
    """

    def __init__(
        self, name: str, channel: socket.socket, reply: Reply, transcript: Transcript, style: str
    ) -> None:
        self.name = name
        self.channel = channel
        self.style = style
        self.local: Address = ours(channel)
        self.remote: Address = theirs(channel)
        self.sent = bytearray()
        self.echoed = 0  # bytes of `sent` that have come back unchanged
        self.claim: Claim | None = None
        self.ending = ""  # "end of stream", "reset", or another error's name; empty while it is open
        self.fault: tuple[str, str] | None = None  # expected and seen, where what came is not what was sent
        self.unasked = b""  # a prefix that came although nothing had been sent
        self.half_closed = False
        self.touched = time.monotonic()
        self._reply = reply
        self._prefix = b"" if reply.names else None
        self._transcript = transcript
        channel.setblocking(False)

    @property
    def closed(self) -> bool:
        """We have closed it: nothing can be asked of the socket any more."""
        return self.channel.fileno() < 0

    @property
    def over(self) -> bool:
        """Nothing more is to be read: it has ended, or what came was wrong."""
        return bool(self.ending or self.fault)

    @property
    def whole(self) -> bool:
        """Everything that was sent has come back."""
        return self.echoed == len(self.sent) and not self.fault

    def write(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Send what the kernel takes of `data`, without waiting; how many bytes that was."""
        try:
            count = self.channel.send(data[:CHUNK], flags)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.fail(error)
            return 0
        self.remember(bytes(data[:count]))
        return count

    def remember(self, data: bytes) -> None:
        """These bytes were sent and are to come back."""
        self.sent += data
        self.touched = time.monotonic()
        self._transcript.note(self.name, "sent", data)

    def read(self) -> bool:
        """Take what has come, without waiting, and compare it; False when there was nothing."""
        try:
            data = self.channel.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            self.fail(error)
            return True
        self.feed(data)
        return True

    def feed(self, data: bytes) -> None:
        """Compare what has come with what was sent; nothing at all means the end of the stream."""
        self.touched = time.monotonic()
        if not data:
            self.ending = "end of stream"
            self._transcript.note(self.name, "end of stream")
            if self._prefix:
                self.fault = (
                    f"a reply of the form {self._reply.form}",
                    f"{show(self._prefix)}, then the end",
                )
            return
        self._transcript.note(self.name, "received", data)
        if self._prefix is not None:
            self._prefix += data
            self.claim = self._reply.split(self._prefix)
            if self.claim is None:
                if len(self._prefix) > self._reply.longest:
                    self.fault = (f"a reply of the form {self._reply.form}", show(self._prefix))
                return
            if not self.sent:
                self.unasked = self.claim.octets
            data, self._prefix = self._prefix[len(self.claim.octets) :], None
        expected = bytes(memoryview(self.sent)[self.echoed : self.echoed + len(data)])
        if data == expected:
            self.echoed += len(data)
        elif data.startswith(expected) and len(expected) < len(data):
            surplus = data[len(expected) :]
            self.echoed += len(expected)
            self.fault = (
                "nothing that was not sent",
                f"{show(surplus)} after all {self.echoed} bytes of the echo",
            )
        else:
            # Everything of the echo that has come so far is right up to `echoed`.
            self.fault = difference(expected, data, self.echoed)

    def fail(self, error: OSError) -> None:
        """An operation on the socket ended in this error, and the connection with it."""
        self.ending = (
            "reset" if error.errno in (errno.ECONNRESET, errno.EPIPE) else errno.errorcode[error.errno or 0]
        )
        self._transcript.note(self.name, self.ending)

    def half_close(self) -> None:
        """FIN in our direction."""
        self.half_closed = True
        self._transcript.note(self.name, "half-closed")
        try:
            self.channel.shutdown(socket.SHUT_WR)
        except OSError as error:
            if not self.over:
                self.fail(error)

    def close(self) -> None:
        """Close both directions; harmless when it was done before."""
        if not self.closed:
            self._transcript.note(self.name, "closed")
            self.channel.close()

    def reset(self) -> None:
        """RST: close with SO_LINGER on and a time of 0 (socket(7))."""
        self._transcript.note(self.name, "reset by the client")
        self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.channel.close()

    def vanish(self) -> None:
        """Close without FIN or RST, as a host does that loses its power; TCP_REPAIR, tcp(7).

        Raises:
            PermissionError: that takes CAP_NET_ADMIN.
        """
        self.channel.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        self._transcript.note(self.name, "vanished")
        self.channel.close()

    @property
    def state(self) -> str:
        """The state of our end (TCP_INFO); a UNIX socket has none, and is given the one that fits."""
        if is_unix(self.remote):
            return "CLOSE_WAIT" if self.ending == "end of stream" else "ESTABLISHED"
        number = self.channel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return TCP_STATES[number] if number < len(TCP_STATES) else str(number)

    @property
    def unsent(self) -> int:
        """Bytes in our send queue, sent or not, that the other end has not acknowledged (SIOCOUTQ).

        On a UNIX socket 0: what is sent is in the other end's receive queue.
        """
        if is_unix(self.remote):
            return 0
        (count,) = struct.unpack("i", fcntl.ioctl(self.channel, termios.TIOCOUTQ, b"\0\0\0\0"))
        return int(count)

    @property
    def unread(self) -> int:
        """Bytes that have come and were not read yet (SIOCINQ)."""
        (count,) = struct.unpack("i", fcntl.ioctl(self.channel, termios.FIONREAD, b"\0\0\0\0"))
        return int(count)

    def pending_error(self) -> str:
        """The name of the error that waits on the socket, or an empty text; reading it clears it (SO_ERROR)."""
        number = self.channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode.get(number, str(number)) if number else ""

    def __str__(self) -> str:
        """What has come on it, in words, for a failure."""
        if self.fault:
            return self.fault[1]
        came = f"{self.echoed} of {len(self.sent)} bytes" if self.sent else "nothing"
        if self.ending:
            return f"{came}, then {'the ' if self.ending.startswith('end') else ''}{self.ending}"
        return f"{came}, then silence for {time.monotonic() - self.touched:.1f} s"


def begin(address: Address, receive_buffer: int = 0) -> socket.socket:
    """A socket whose connect has been started and not waited for.

    Where no port is left it comes from a further address of loopback, if that is where the server is.

    Raises:
        CannotConnect: it was refused at once, or cannot be had.
    """
    for source in (("", 0), *(MORE_SOURCES if address[0].startswith("127.") else ())):
        try:
            return _begin(address, receive_buffer, source)
        except CannotConnect as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            last = error
    raise last


def _begin(address: Address, receive_buffer: int, source: Address) -> socket.socket:
    try:
        channel = socket.socket(family_of(address), socket.SOCK_STREAM)
    except OSError as error:
        raise CannotConnect(error.errno, errno.errorcode.get(error.errno or 0, str(error))) from None
    if source[0]:
        # The port is chosen by the connect, so that one that is in use elsewhere will do (ip(7)).
        channel.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        channel.bind(source)
    channel.setblocking(False)
    if receive_buffer:  # before the connect, or the window is agreed upon already
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if not is_unix(address):
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    code = channel.connect_ex(for_socket(address))
    if code not in (0, errno.EINPROGRESS):
        channel.close()
        raise CannotConnect(code, errno.errorcode.get(code, str(code)))
    return channel


def finish(channel: socket.socket, deadline: Deadline) -> None:
    """Wait until a connect that was begun is done.

    Raises:
        CannotConnect: it was refused, or nobody answered by the deadline; the socket is closed then.
    """
    poll = select.poll()
    poll.register(channel, select.POLLOUT)
    if not poll.poll(deadline.left * 1000):
        channel.close()
        raise CannotConnect(errno.ETIMEDOUT, f"no answer to the connect for {deadline.seconds:g} s")
    if code := channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        channel.close()
        raise CannotConnect(code, errno.errorcode.get(code, str(code)))


def connect(address: Address, deadline: Deadline, receive_buffer: int = 0) -> socket.socket:
    """A connected socket.

    Raises:
        CannotConnect: see `begin` and `finish`.
    """
    channel = begin(address, receive_buffer)
    finish(channel, deadline)
    return channel


class _Readiness:
    """Which of many descriptors are ready: by epoll(7) where that is to be had and worth its descriptor, else by poll(2).

    poll(2) is told of all of them each time, so that many that come one by one take time with the square of their number.
    """

    WORTH_IT = 64  # descriptors

    def __init__(self, count: int) -> None:
        self._epoll = select.epoll() if count > self.WORTH_IT and hasattr(select, "epoll") else None
        self._poll = select.poll()
        chosen = self._epoll or self._poll
        # The flags of both are the same numbers.
        self.register, self.modify, self.unregister = chosen.register, chosen.modify, chosen.unregister

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Those that are ready, and for what; none of them after so long."""
        return self._epoll.poll(seconds) if self._epoll else self._poll.poll(seconds * 1000)

    def __enter__(self) -> _Readiness:
        return self

    def __exit__(self, *_: object) -> None:
        if self._epoll:
            self._epoll.close()


def converse(
    connections: Iterable[Connection],
    outgoing: dict[str, list[bytes]],
    patience: float,
    done: Callable[[Connection], bool],
) -> None:
    """Send and read on all connections at once, until each is `done`, over, or silent for `patience` seconds.

    Args:
        connections: those to serve; the interpreter's own loop, used for the style `non-blocking`.
        outgoing: by name, what is to be written, a piece a write.
        patience: seconds without a byte in either direction after which a connection is given up.
        done: whether a connection has what it waits for.
    """
    waiting = {one.channel.fileno(): one for one in connections if not one.closed}
    queues = {
        one.name: [memoryview(piece) for piece in outgoing.get(one.name, []) if piece]
        for one in waiting.values()
    }
    for queue in queues.values():
        queue.reverse()  # taken from the end
    with _Readiness(len(waiting)) as ready_ones:
        for number, one in waiting.items():
            one.touched = time.monotonic()
            ready_ones.register(number, select.POLLIN | (select.POLLOUT if queues[one.name] else 0))
        # A target that answers a byte now and then is given up as well.
        end = time.monotonic() + crowded(12 * patience, len(waiting))
        looked_at = list(waiting)
        while waiting:
            for number in looked_at:  # the others are as they were
                one = waiting[number]
                if one.over or (not queues[one.name] and done(one)):
                    ready_ones.unregister(number)
                    del waiting[number]
            if not waiting:
                return
            ready = ready_ones.wait(min(patience, 1.0) / 10)
            looked_at = [number for number, _ in ready]
            for number, events in ready:
                one = waiting[number]
                queue = queues[one.name]
                # Read first: a write that fails takes the error from the socket, and the read after it sees a mere end.
                if events & ~select.POLLOUT:
                    one.read()
                if events & select.POLLOUT and queue and not one.over:
                    count = one.write(queue[-1])
                    queue[-1] = queue[-1][count:]
                    if not queue[-1]:
                        queue.pop()
                    if not queue:
                        ready_ones.modify(number, select.POLLIN)
            now = time.monotonic()
            if not ready and (now > end or all(now - one.touched > patience for one in waiting.values())):
                return
            if now > end:
                return
