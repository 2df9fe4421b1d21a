"""The server's end of a client's connection: a listener, what comes, what is sent, and whether the client has read it."""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

from forkecho.conformance import port
from forkecho.conformance.address import Address
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.observe import Observer
from forkecho.conformance.wire import Transcript

__all__ = ["Door", "Peer"]

CHUNK = 1 << 18  # bytes a read or a write at the most
SMALL_BUFFER = 1  # bytes, in each direction: the kernel makes of it the smallest that it has (socket(7))
SMALL_SEGMENT = (
    536  # bytes: what every host must take (RFC 9293 3.7.1); the client's own buffer is small with it
)
STEP = 0.02  # seconds between two looks at whether the client has ended


class Door:
    """A port of our own, on which somebody listens or nobody does.

    Args:
        host: of which it is an address.
        listens: whether connections are accepted.
        small: the server's buffers are small.
    """

    def __init__(self, host: str, *, listens: bool = True, small: bool = False) -> None:
        self._port = port.reserve(host)
        self.number = self._port.number
        self._small = small
        self._listener: socket.socket | None = None
        if listens:
            self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            if small:  # before it listens, or the window is agreed upon already
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
                self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
            self._listener.bind((host, self.number))
            self._listener.listen(8)
            self._listener.setblocking(False)

    def accept(self, deadline: Deadline, gone: Callable[[], bool], transcript: Transcript) -> Peer | None:
        """The next connection; None when there is none by the deadline, or the client has ended without one."""
        found: list[tuple[socket.socket, Address]] = []

        def look() -> bool:
            over = gone()
            with suppress(BlockingIOError):
                if self._listener:
                    found.append(self._listener.accept())
            return bool(found) or over

        wait_for(look, deadline)
        if not found:
            return None
        channel, address = found[0]
        if self._small:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        return Peer(channel, address, transcript)

    def close(self) -> None:
        """Listen no more, and give the port back."""
        if self._listener:
            self._listener.close()
        self._port.release()


class Peer:
    """One connection from a client.

    Args:
        channel: the accepted socket.
        remote: the client's address, as accept() gave it: of a connection that was reset meanwhile nobody else knows it.
        transcript: where events are noted.

    Attributes:
        received: everything that has come.
        ending: how the client ended its direction: "end of stream", "reset", or another error's name.
    """

    def __init__(self, channel: socket.socket, remote: Address, transcript: Transcript) -> None:
        self.channel = channel
        self.local: Address = channel.getsockname()[:2]
        self.remote = remote
        self.received = bytearray()
        self.ending = ""
        self._transcript = transcript
        channel.setblocking(False)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transcript.note("client", "connected")

    def read(self, most: int = CHUNK) -> bytes:
        """Take what has come, without waiting."""
        try:
            data = self.channel.recv(most)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._fail(error)
            return b""
        if data:
            self._transcript.note("client", "received", data)
            self.received += data
        elif not self.ending:
            self.ending = "end of stream"
            self._transcript.note("client", "end of stream")
        return data

    def write(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes, without waiting; how many bytes that was."""
        try:
            count = self.channel.send(data[:CHUNK])
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(error)
            return 0
        self._transcript.note("client", "sent", bytes(data[:count]))
        return count

    def _fail(self, error: OSError) -> None:
        name = (
            "reset" if error.errno in (errno.ECONNRESET, errno.EPIPE) else errno.errorcode[error.errno or 0]
        )
        if self.ending != name:
            self._transcript.note("client", name)
        self.ending = name

    def read_until(self, enough: Callable[[], bool], patience: float, most: int = CHUNK) -> bool:
        """Read, so many bytes at a time at the most, until it is enough.

        False where the client has ended its direction or was silent for that long.
        """
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        deadline = Deadline(patience)
        while not enough():
            if self.ending or (deadline.passed and not poll.poll(0)):
                return enough()
            if poll.poll(deadline.left * 1000) and self.read(most):
                deadline = Deadline(patience)
        return True

    def send(self, data: bytes, patience: float) -> int:
        """Send it all; how many bytes were sent when the client had taken none for so many seconds, or has ended."""
        poll = select.poll()
        poll.register(self.channel, select.POLLOUT)
        rest = memoryview(data)
        deadline = Deadline(patience)
        while rest and self.ending != "reset":
            if deadline.passed and not poll.poll(0):
                break
            if poll.poll(deadline.left * 1000) and (count := self.write(rest)):
                rest = rest[count:]
                deadline = Deadline(patience)
        return len(data) - len(rest)

    def await_read(self, observer: Observer, patience: float) -> bool:
        """Wait until the client has read all that was sent, as far as that can be seen, or is not there any more."""

        def read() -> bool:
            if self._unacknowledged():
                return self.ending == "reset"
            theirs = observer.endpoint(self.remote, self.local)
            return theirs is None or not theirs.key or not theirs.unread

        return wait_for(read, Deadline(patience))

    def _unacknowledged(self) -> int:
        """Bytes in our send queue that the client's host has not taken (SIOCOUTQ)."""
        (count,) = struct.unpack("i", fcntl.ioctl(self.channel, termios.TIOCOUTQ, b"\0\0\0\0"))
        return int(count)

    def end(self) -> None:
        """FIN in our direction; theirs is read on."""
        self._transcript.note("client", "half-closed")
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST: close with SO_LINGER on and a time of 0 (socket(7))."""
        self._transcript.note("client", "reset by the server")
        self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.channel.close()

    def close(self) -> None:
        """Close both directions; harmless when it was done before."""
        self.channel.close()
